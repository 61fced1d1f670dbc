"""Settings that differ from their defaults but have no effect in this experiment."""

import re
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from model_foundry.config.built_in import ARCHITECTURES, OBJECTIVES, OPTIMIZERS, SCHEDULES
from model_foundry.config.data import DataConfig, MixtureSource, PluginSource
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.section_checks import architecture_of, objective_of
from model_foundry.config.sections import TokenizerConfig
from model_foundry.config.sources import (
    DiskSource,
    HubSource,
    ImagesSource,
    LanguageSource,
    PairsSource,
)
from model_foundry.config.training import TrainingConfig
from model_foundry.registry import Registry

OF_A_TRAINING = (
    *("special_tokens", "model_type", "normalization", "lowercase", "min_frequency"),
    "training_bytes",
)
OF_ONE_TOKENIZER: Final = {
    "sentencepiece": ("model_type", "normalization"),
    "wordpiece": ("lowercase",),
    "word": ("min_frequency",),
}
"""Settings that only one type of tokenizer reads."""
OF_TEXT: Final = (
    *("tokenizer", "data.document", "data.text_column", "data.packing", "data.document_overlap"),
    *("data.max_sequence_length", "data.content_tokens", "data.preprocessing_num_workers"),
)
"""Settings that objectives without a token stream do not read, unless they name them."""
OF_GRADIENTS: Final = (
    *("losses", "optimizer", "learning_rate", "min_learning_rate", "lr_scheduler_type"),
    *("warmup_steps", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("max_grad_norm", "max_grad_value", "gradient_checkpointing", "compile"),
    *("mixed_precision", "train_metrics", "ema_decay"),
)
KINDS = {"txt": "text", "conllu": "text"}  # of documents, by the suffix of their file
KINDS |= dict.fromkeys(("jsonl", "ndjson", "json", "csv", "tsv", "npz", "parquet", "arrow"), "rows")
COMPRESSED = re.compile(r"\.(gz|zst|bz2|xz)$")
Rule = tuple[bool, str, tuple[str, ...], str]
"""Does it apply, the section, the fields that have no effect then, and the reason."""


def settings_without_effect(config: ExperimentConfig) -> list[str]:
    """Return one line for each setting without effect that differs from its default."""
    rules = (
        *_unread(config),
        *_unread_sections(config),
        *_of_another_kind(config),
        *_training_rules(config.training),
        *_data_rules(config.data),
        *_tokenizer_rules(config.tokenizer),
    )
    unused: dict[str, str] = {}
    for applies, section, names, reason in rules:
        for field in _changed(config, section, names) if applies else ():
            unused.setdefault(field, reason)
    lines = [f"{field} has no effect: {reason}" for field, reason in unused.items()]
    return [*lines, *_milestones_after_the_end(config)]


def _changed(config: ExperimentConfig, section: str, names: tuple[str, ...]) -> Iterator[str]:
    owner: Any = attrgetter(section)(config) if section else config
    for name in names:
        field = type(owner).model_fields.get(name)
        default = field.get_default(call_default_factory=True, validated_data={}) if field else None
        if getattr(owner, name, default) != default:
            yield f"{section}.{name}".removeprefix(".")


def _milestones_after_the_end(config: ExperimentConfig) -> Iterator[str]:
    end = config.training.max_steps
    late = [step for step in config.training.milestones.steps if end is not None and step > end]
    if late:
        yield (
            f"training.milestones.steps has no effect from {late[0]} on: the run ends at "
            f"training.max_steps (={end})"
        )


def _unread(config: ExperimentConfig) -> Iterator[Rule]:
    """Yield the settings that architecture, objective, optimizer and schedule do not read."""
    training, architecture = config.training, config.model.architecture
    used: tuple[tuple[Registry[Any], str], ...] = (
        (ARCHITECTURES, architecture),
        (OBJECTIVES, training.objective),
        (OPTIMIZERS, training.optimizer),
        (SCHEDULES, training.lr_scheduler_type),
    )
    if any(name not in registry for registry, name in used):
        return
    read = {setting for registry, name in used for setting in registry[name].settings}
    for registry, name in used:
        others = {setting for spec in registry.known() for setting in spec.settings}
        reason = f"{registry.kind} {name!r} does not read it"
        yield True, "training", tuple(sorted(others - read)), reason
    no_spans = "mlm_span_length" in read and training.mlm_masking != "span"
    yield no_spans, "training", ("mlm_span_length",), "training.mlm_masking is not 'span'"


def _unread_sections(config: ExperimentConfig) -> Iterator[Rule]:
    """Yield the sections of registered things that this experiment does not use."""
    training, architecture = config.training, architecture_of(config)
    used = {training.objective, training.optimizer, training.lr_scheduler_type}
    unused = tuple(sorted(_changed_sections(training) - used))
    yield True, "training", unused, "the experiment does not use it"
    if architecture is not None:
        sections = {name for name, value in config.model if isinstance(value, BaseModel)}
        reason = f"architecture {architecture.name!r} does not read it"
        yield True, "model", tuple(sorted(sections - architecture.sections().keys())), reason


def _changed_sections(training: TrainingConfig) -> set[str]:
    """Return the names of the sections of registered things that differ from their defaults."""

    def is_default(section: Any) -> bool:
        try:
            return bool(section == type(section)())
        except ValidationError:  # it has settings without a default
            return False

    return {name for name, given in (training.model_extra or {}).items() if not is_default(given)}


def _of_another_kind(config: ExperimentConfig) -> Iterator[Rule]:
    """Yield settings of text where none is read, and of gradients where a model counts."""
    architecture, objective = architecture_of(config), objective_of(config)
    if objective is not None and not objective.reads_token_stream:
        unread = [name for name in OF_TEXT if name not in objective.settings]
        for section, _, name in (setting.rpartition(".") for setting in unread):
            yield True, section, (name,), f"objective {objective.name!r} reads no token stream"
    if architecture is not None and architecture.trained_by == "counting":
        reason = f"architecture {architecture.name!r} learns by counting"
        yield True, "training", OF_GRADIENTS, reason
        sections = _changed_sections(config.training) - {config.training.objective}
        yield True, "training", tuple(sorted(sections)), reason


def _training_rules(training: TrainingConfig) -> Iterator[Rule]:
    no_milestones = not training.milestones.has_any
    yield no_milestones, "training.milestones", ("save_only_model",), "there are no milestones"
    smooths = "label_smoothing" in training.losses
    reason = "training.losses has no 'label_smoothing'"
    yield not smooths, "training", ("label_smoothing_factor",), reason
    stops = training.early_stopping_patience is not None
    reason = "training.early_stopping_patience is not set"
    yield not stops, "training", ("early_stopping_threshold",), reason
    only_last = training.eval_steps is None
    reason = "without training.eval_steps the only evaluation is that of the last step"
    yield only_last, "training", ("load_best_model_at_end",), reason


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
    for only, names in OF_ONE_TOKENIZER.items():
        yield not loaded and kind != only, "tokenizer", names, f"only {only} reads it"


def _kinds_of(source: Any) -> set[str]:
    """Return the kinds of documents of a source: language, text, rows, or unknown."""
    if isinstance(source, MixtureSource):
        return {kind for part in source.mixture for kind in _kinds_of(part.source)}
    if isinstance(source, LanguageSource):
        return {"language"}
    if isinstance(source, HubSource | DiskSource | ImagesSource | PairsSource):
        return {"rows"}
    if isinstance(source, PluginSource):
        return {"unknown"}
    paths = [source] if isinstance(source, str) else source
    suffixes = [COMPRESSED.sub("", path).rpartition(".")[2] for path in paths]
    return {KINDS.get(suffix, "unknown") for suffix in suffixes}  # unknown: a folder, for one
