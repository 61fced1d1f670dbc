"""Checks within one section of an experiment.

Each check is a function from the experiment to its faults: pairs of (dotted field, message).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from model_foundry.config.built_in import (
    ARCHITECTURES,
    INTERVENTIONS,
    LOSSES,
    METRICS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
)
from model_foundry.config.data import ALL, DataConfig, MixtureSource
from model_foundry.config.model import ModelConfig
from model_foundry.config.other_tools import VALUES
from model_foundry.config.sections import SPECIAL_TOKEN_ROLES, RNNModelConfig, TokenizerConfig
from model_foundry.config.specs import ArchitectureSpec, ObjectiveSpec
from model_foundry.config.tracking import TrackingConfig
from model_foundry.config.training import TrainingConfig
from model_foundry.config.transforms import faults_of_transforms
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import AVERAGED
from model_foundry.registry import Registry, nearest

Fault = tuple[str, str]
REGISTERED: Final[dict[str, Registry[Any]]] = {
    "objective": OBJECTIVES,
    "optimizer": OPTIMIZERS,
    "lr_scheduler_type": SCHEDULES,
    "losses": LOSSES,
    "metrics": METRICS,
    "train_metrics": METRICS,
    "metric_for_best_model": METRICS,
}
"""Fields of `training` that name registered things."""


class Sections(Protocol):
    """The parts of an experiment that a check reads."""

    output_dir: Path
    data: DataConfig
    tokenizer: TokenizerConfig
    model: ModelConfig
    training: TrainingConfig
    tracking: TrackingConfig


def architecture_of(config: Sections) -> ArchitectureSpec | None:
    """Return the spec of the architecture; None: not registered, so nothing is checked."""
    return ARCHITECTURES.get(config.model.architecture)


def objective_of(config: Sections) -> ObjectiveSpec | None:
    """Return the spec of the objective; None: not registered."""
    return OBJECTIVES.get(config.training.objective)


def names_are_registered(config: Sections) -> Iterator[Fault]:
    """Check that objective, optimizer, schedule, losses and metrics are registered."""
    for field, registry in REGISTERED.items():
        given = getattr(config.training, field)
        names = [given.removeprefix(AVERAGED)] if isinstance(given, str) else given or ()
        yield from ((f"training.{field}", law) for law in _unknown(names, registry))
    for objective, field in _defaults_of_the_objective(config):
        for law in _unknown(getattr(objective, field), REGISTERED[field]):
            yield "training.objective", f"{objective.default_of(field)}: {law}"


def _unknown(names: Iterable[str], registry: Registry[Any]) -> Iterator[str]:
    for name in names:
        try:
            registry[name]
        except ConfigError as error:  # unknown, or of a package that cannot be imported
            yield _with_the_meant(str(error), name, registry)


def _defaults_of_the_objective(config: Sections) -> Iterator[tuple[ObjectiveSpec, str]]:
    """Yield the objective with `losses` and with `metrics`, if the experiment names none."""
    objective = objective_of(config)
    for field in ("losses", "metrics"):
        if objective is not None and not getattr(config.training, field):
            yield objective, field


def _with_the_meant(message: str, name: str, registry: Registry[Any]) -> str:
    """Return the message about an unknown name, with ours for one of another program."""
    ours = VALUES.get(name.lower().replace("-", "_"))
    if ours not in registry:
        return message
    _, _, available = message.partition("Available: ")
    head = f"Unknown {registry.kind}: {name!r}; did you mean {ours!r}?"
    return f"{head} Available: {available}"


def metrics_suit_the_objective(config: Sections) -> Iterator[Fault]:
    """Check that metrics of language models are measured on the token stream of one."""
    objective = objective_of(config)
    if objective is None or objective.reads_token_stream:
        return
    training, law = config.training, f"needs a token stream, which {objective.name!r} does not read"
    for field in ("metrics", "train_metrics"):
        for name in _of_text(getattr(training, field)):
            yield f"training.{field}", f"{name!r} {law}; leave it out"
    for name in () if training.metrics else _of_text(objective.metrics):
        place = objective.default_of("metrics")
        yield "training.objective", f"{place}: {name!r} {law}; leave it out"


def _of_text(metrics: Iterable[str]) -> list[str]:
    specs = map(METRICS.get, metrics)
    return [spec.name for spec in specs if spec is not None and spec.reads_text]


def train_metrics_are_measurable(config: Sections) -> Iterator[Fault]:
    """Check that training can measure its metrics, and that they do not hide figures of a step."""
    objective = objective_of(config)
    reads_text = objective is not None and objective.reads_token_stream
    for name in config.training.train_metrics:
        spec = METRICS.get(name)
        if name == "loss":
            law = "'loss' is always logged, of each step by itself; leave it out"
            yield "training.train_metrics", law
        elif spec is not None and spec.generates:
            law = f"{name!r} compares what the model generates, which it does in evaluations only"
            yield "training.train_metrics", f"{law}; name it in training.metrics"
        elif spec is not None and spec.reads_text and reads_text:
            law = f"{name!r} needs the bytes of the tokens, which only an evaluation reads"
            yield "training.train_metrics", f"{law}; name it in training.metrics"


def transforms_are_known(config: Sections) -> Iterator[Fault]:
    """Check that each transform is registered and its settings are valid."""
    return faults_of_transforms(config.training.transforms)


def keys_are_of_what_is_measured(config: Sections) -> Iterator[Fault]:
    """Check that `training.keys` names losses and metrics of the experiment."""
    training, objective = config.training, objective_of(config)
    if objective is None:
        return
    named = [*(training.losses or objective.losses), *training.evaluation_metrics]
    named += training.train_metrics
    for name in sorted(training.keys.keys() - set(named)):
        near = nearest(name, named)
        hint = f"; did you mean {near!r}?" if near else f"; it has {', '.join(named)}"
        yield f"training.keys.{name}", f"is no loss or metric of the experiment{hint}"


def special_tokens_have_roles(config: Sections) -> Iterator[Fault]:
    """Check that special tokens are given by role, and only `mask` is null."""
    for role, token in config.tokenizer.special_tokens.items():
        field = f"tokenizer.special_tokens.{role}"
        if role.removesuffix("_token") not in SPECIAL_TOKEN_ROLES:
            yield field, f"is not a role; the roles are {', '.join(SPECIAL_TOKEN_ROLES)}"
        elif token is None and role != "mask":
            yield field, "is null, but only mask can be; give a string, or leave it out"


def embedding_fits_hidden_size(config: Sections) -> Iterator[Fault]:
    """Check the widths of architectures without a projection between embedding and layers."""
    architecture, section = architecture_of(config), config.model.transformer
    if architecture is None or section is None or not architecture.ties_embedding_size:
        return
    if section.embedding_size != section.hidden_size:
        yield (
            "model.transformer.embedding_size",
            f"must equal hidden_size (={section.hidden_size}) under {architecture.name!r}, "
            f"got {section.embedding_size}",
        )


def rnn_type_is_the_architecture(config: Sections) -> Iterator[Fault]:
    """Check that `rnn_type` repeats the architecture, or is left out."""
    section, architecture = config.model.rnn, architecture_of(config)
    if section is None or architecture is None or architecture.schema is not RNNModelConfig:
        return
    if section.rnn_type not in (None, architecture.name):
        yield (
            "model.rnn.rnn_type",
            f"must equal model.architecture (={architecture.name!r}), got {section.rnn_type!r}; "
            "leave it out",
        )


def split_suits_the_source(config: Sections) -> Iterator[Fault]:
    """Check that a split by position has a single source, and counts no documents."""
    data = config.data
    if data.validation is not None or data.split_by != "position":
        return
    if isinstance(data.train, MixtureSource):
        yield (
            "data.split_by",
            "'position' has no meaning for a mixture; leave it out, or give data.validation",
        )
    if data.validation_documents is not None:
        yield (
            "data.validation_documents",
            f"(={data.validation_documents}) needs data.split_by=document; under 'position' "
            "data.validation_fraction counts",
        )


def records_have_no_settings_of_text(config: Sections) -> Iterator[Fault]:
    """Check that a task on records has no settings of `data` that change or measure joined text."""
    objective, data = objective_of(config), config.data
    if objective is None or objective.reads_token_stream:
        return
    if data.interventions:
        law = f"they change text, but {objective.name!r} reads records"
        yield "data.interventions", f"{law}; leave them out, or change the files"
    for name in ALL:
        source = getattr(data, name)
        parts = [source, *source.mixture] if isinstance(source, MixtureSource) else []
        for unit in ("words", "tokens"):
            if any(getattr(part, unit) is not None for part in parts):
                law = f"{unit} of records cannot be counted"
                yield f"data.{name}", f"{law}; give documents, the number of records"


def controls_are_matched(config: Sections) -> Iterator[Fault]:
    """Check that a control of an intervention can remove as many sentences as the step."""
    source = config.data.train
    if not isinstance(source, MixtureSource) or len({part.repeats for part in source.mixture}) < 2:
        return
    for number, step in enumerate(config.data.interventions):
        if step.settings.get("control") is True and "train" in step.splits:
            yield (
                f"data.interventions.{number}.control",
                "cannot be matched where the sources of data.train are repeated unequally often; "
                "give them the same repeats",
            )


def run_directory_is_named(config: Sections) -> Iterator[Fault]:
    """Check that the run directory is named and no parent directory."""
    text = str(config.output_dir)
    nameless = config.output_dir.name in {"", ".."}  # could not be moved aside for a fresh run
    if nameless or not text.isprintable():
        yield "output_dir", f"must name a directory of its own, got {text!r}"


def interventions_are_known(config: Sections) -> Iterator[Fault]:
    """Check that each intervention is registered and its settings are valid."""
    for number, step in enumerate(config.data.interventions):
        field = f"data.interventions.{number}"
        try:
            registered = INTERVENTIONS.load(step.step).intervention
        except ConfigError as error:  # unknown, or of a package that cannot be imported
            yield f"{field}.step", str(error)
            continue
        for setting, message in registered.faults(step.settings):
            yield f"{field}.{setting}".removesuffix("."), message
