"""Settings that differ from their defaults but have no effect in this experiment."""

import re
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

from model_foundry.config.data import DataConfig, MixtureSource, PluginSource
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.section_checks import architecture_of, objective_of
from model_foundry.config.sections import TokenizerConfig
from model_foundry.config.sources import DiskSource, HubSource, LanguageSource
from model_foundry.config.specs import ARCHITECTURES, OBJECTIVES
from model_foundry.config.training import TrainingConfig

OF_A_TRAINING = (
    *("special_tokens", "model_type", "normalization", "lowercase", "min_frequency"),
    "training_bytes",
)
KINDS = {"txt": "text", "conllu": "text"}  # of documents, by the suffix of their file
KINDS |= dict.fromkeys(("jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow"), "rows")
COMPRESSED = re.compile(r"\.(gz|zst|bz2|xz)$")
Rule = tuple[bool, str, tuple[str, ...], str]
"""Does it apply, the section, the fields that have no effect then, and the reason."""


def settings_without_effect(config: ExperimentConfig) -> list[str]:
    """Return one line for each setting without effect that differs from its default."""
    rules = (
        *_unread(config),
        *_training_rules(config.training),
        *_data_rules(config.data),
        *_tokenizer_rules(config.tokenizer),
    )
    unused = [
        f"{field} has no effect: {reason}"
        for applies, section, names, reason in rules
        if applies
        for field in _changed(config, section, names)
    ]
    return [*unused, *_milestones_after_the_end(config)]


def _changed(config: ExperimentConfig, section: str, names: tuple[str, ...]) -> Iterator[str]:
    owner: Any = attrgetter(section)(config)
    for name in names:
        field = type(owner).model_fields.get(name)
        default = field.get_default(call_default_factory=True, validated_data={}) if field else None
        if getattr(owner, name, default) != default:
            yield f"{section}.{name}"


def _milestones_after_the_end(config: ExperimentConfig) -> Iterator[str]:
    end = config.training.max_steps
    late = [step for step in config.training.milestones.steps if end is not None and step > end]
    if late:
        yield (
            f"training.milestones.steps has no effect from {late[0]} on: the run ends at "
            f"training.max_steps (={end})"
        )


def _unread(config: ExperimentConfig) -> Iterator[Rule]:
    """Yield the settings that the architecture and the objective do not read."""
    architecture, objective = architecture_of(config), objective_of(config)
    if architecture is None or objective is None:
        return
    used = {*architecture.settings, *objective.settings}
    settings = [spec.settings for spec in ARCHITECTURES.values()]
    settings += [spec.settings for spec in OBJECTIVES.values()]
    unused = set().union(*settings) - used
    reason = f"{architecture.name!r} with {objective.name!r} does not read it"
    yield True, "training", tuple(sorted(unused)), reason
    sections = {name for name, value in config.model if isinstance(value, BaseModel)}
    reason = f"architecture {architecture.name!r} does not read it"
    yield True, "model", tuple(sorted(sections - architecture.sections().keys())), reason
    no_spans = "mlm_span_length" in used and config.training.mlm_masking != "span"
    yield no_spans, "training", ("mlm_span_length",), "training.mlm_masking is not 'span'"


def _training_rules(training: TrainingConfig) -> Iterator[Rule]:
    constant = training.lr_scheduler_type == "constant"
    yield constant, "training", ("min_learning_rate",), "a constant schedule has no minimum"
    no_milestones = not training.milestones.has_any
    yield no_milestones, "training.milestones", ("save_only_model",), "there are no milestones"


def _data_rules(data: DataConfig) -> Iterator[Rule]:
    joined, kinds = data.packing != "documents", _kinds_of(data.train)
    yield joined, "data", ("document_overlap",), "data.packing is not 'documents'"
    given, counted = data.validation is not None, data.validation_documents is not None
    held_out = ("validation_fraction", "validation_documents", "split_by")
    yield given, "data", held_out, "data.validation is given"
    by_number = counted and not given
    yield by_number, "data", ("validation_fraction",), "data.validation_documents is given"
    yield kinds == {"language"}, "data", ("text_column",), "the language has no columns"
    yield kinds == {"text"}, "data", ("text_column",), "text files have no columns"
    yield kinds == {"rows"}, "data", ("document",), "each row of a data set is a document"
    yield kinds == {"language"}, "data", ("encoding_errors",), "there are no files"


def _tokenizer_rules(tokenizer: TokenizerConfig) -> Iterator[Rule]:
    loaded, kind = tokenizer.path is not None, tokenizer.tokenizer_type
    yield loaded, "tokenizer", OF_A_TRAINING, "tokenizer.path names a trained tokenizer"
    for only, names in (
        ("sentencepiece", ("model_type", "normalization")),
        ("wordpiece", ("lowercase",)),
        ("word", ("min_frequency",)),
    ):
        yield not loaded and kind != only, "tokenizer", names, f"only {only} reads it"


def _kinds_of(source: Any) -> set[str]:
    """Return the kinds of documents of a source: language, text, rows, or unknown."""
    if isinstance(source, MixtureSource):
        return {kind for part in source.mixture for kind in _kinds_of(part.source)}
    if isinstance(source, LanguageSource):
        return {"language"}
    if isinstance(source, HubSource | DiskSource):
        return {"rows"}
    if isinstance(source, PluginSource):
        return {"unknown"}
    paths = [source] if isinstance(source, str) else source
    suffixes = [COMPRESSED.sub("", path).rpartition(".")[2] for path in paths]
    return {KINDS.get(suffix, "unknown") for suffix in suffixes}  # unknown: a folder, for one
