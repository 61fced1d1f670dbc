"""The settings that were changed from their defaults and do nothing in this experiment."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

from model_foundry.config.cross_checks import architecture_of, objective_of
from model_foundry.config.data import DiskSource, HubSource, LanguageSource, MixtureSource
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.specs import ARCHITECTURES, OBJECTIVES

OF_A_TRAINING = (
    "special_tokens",
    "model_type",
    "normalization",
    "lowercase",
    "min_frequency",
    "training_bytes",
)
ROW_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


def settings_without_effect(config: ExperimentConfig) -> list[str]:
    """Return one line for each setting that was changed from its default and does nothing here."""
    idle = [
        f"{field} has no effect: {reason}"
        for section, field_names, reason in _idle(config)
        for field in _changed(config, section, field_names)
    ]
    return [*idle, *_milestones_after_the_end(config)]


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


def _idle(config: ExperimentConfig) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield (section, fields, reason) for what this experiment does not read."""
    architecture, objective = architecture_of(config), objective_of(config)
    data, tokenizer, training = config.data, config.tokenizer, config.training
    if architecture and objective:
        heeded = {*architecture.settings, *objective.settings}
        special = {
            name
            for registry in (ARCHITECTURES, OBJECTIVES)
            for spec in registry.values()
            for name in spec.settings
        }
        reason = f"{architecture.name!r} with {objective.name!r} does not read it"
        yield "training", tuple(sorted(special - heeded)), reason
        sections = {
            name
            for name, value in config.model
            if isinstance(value, BaseModel) and name not in architecture.sections()
        }
        reason = f"architecture {architecture.name!r} does not read it"
        yield "model", tuple(sorted(sections)), reason
        if "mlm_span_length" in heeded and training.mlm_masking != "span":
            yield "training", ("mlm_span_length",), "training.mlm_masking is not 'span'"
    if training.lr_scheduler_type == "constant":
        yield "training", ("min_learning_rate",), "a constant schedule has no minimum"
    if not training.milestones.has_any:
        yield "training.milestones", ("save_only_model",), "there are no milestones"
    if data.packing != "documents":
        yield "data", ("document_overlap",), "data.packing is not 'documents'"
    if data.validation is not None:
        held_out = ("validation_fraction", "validation_documents", "split_by")
        yield "data", held_out, "data.validation is given"
    elif data.validation_documents is not None:
        yield "data", ("validation_fraction",), "data.validation_documents is given"
    kinds = _kinds_of(data.train)
    if kinds == {"language"}:
        yield "data", ("text_column",), "the language has no columns"
    elif kinds == {"text"}:
        yield "data", ("text_column",), "text files have no columns"
    elif kinds == {"rows"}:
        yield "data", ("document",), "each row of a data set is a document"
    if "text" not in kinds and "unknown" not in kinds and "rows" not in kinds:
        yield "data", ("encoding_errors",), "there are no files"
    if tokenizer.path is not None:
        reason = "tokenizer.path names a trained tokenizer"
        yield "tokenizer", OF_A_TRAINING, reason
    elif tokenizer.tokenizer_type != "sentencepiece":
        yield "tokenizer", ("model_type", "normalization"), "only sentencepiece reads it"
    if tokenizer.path is None and tokenizer.tokenizer_type != "wordpiece":
        yield "tokenizer", ("lowercase",), "only wordpiece reads it"
    if tokenizer.path is None and tokenizer.tokenizer_type != "word":
        yield "tokenizer", ("min_frequency",), "only word reads it"


def _kinds_of(source: Any) -> set[str]:
    """Return which kinds of documents a source has: language, text, rows, or unknown."""
    if isinstance(source, MixtureSource):
        return {kind for part in source.mixture for kind in _kinds_of(part.source)}
    if isinstance(source, LanguageSource):
        return {"language"}
    if isinstance(source, HubSource | DiskSource):
        return {"rows"}
    paths = [source] if isinstance(source, str) else source
    return {_kind_of_path(path) for path in paths}


def _kind_of_path(path: str) -> str:
    for suffix in COMPRESSED:
        path = path.removesuffix(suffix)
    if path.endswith(ROW_SUFFIXES):
        return "rows"
    return "text" if path.endswith((".txt", ".conllu")) else "unknown"  # such as a folder
