"""Laws between the sections of an experiment.

Each law is a function from the experiment to its faults: pairs of (dotted field, message).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from model_foundry.config.data import DataConfig, MixtureSource
from model_foundry.config.model import ModelConfig
from model_foundry.config.sections import SPECIAL_TOKEN_ROLES, RNNModelConfig, TokenizerConfig
from model_foundry.config.specs import (
    ARCHITECTURES,
    INTERVENTIONS,
    OBJECTIVES,
    ArchitectureSpec,
    ObjectiveSpec,
)
from model_foundry.config.training import TrainingConfig
from model_foundry.errors import ConfigError
from model_foundry.registry import UnknownNameError

Fault = tuple[str, str]


class Sections(Protocol):
    """The parts of an experiment that a check looks at."""

    output_dir: Path
    data: DataConfig
    tokenizer: TokenizerConfig
    model: ModelConfig
    training: TrainingConfig


def architecture_of(config: Sections) -> ArchitectureSpec | None:
    """Return the spec; None for a name that is not registered, of which no law can be judged."""
    try:
        return ARCHITECTURES[config.model.architecture]
    except UnknownNameError:
        return None


def objective_of(config: Sections) -> ObjectiveSpec | None:
    """Return the spec; None for a name that is not registered."""
    try:
        return OBJECTIVES[config.training.objective]
    except UnknownNameError:
        return None


def objective_is_known(config: Sections) -> Iterator[Fault]:
    """The objective is registered."""
    try:
        OBJECTIVES[config.training.objective]
    except UnknownNameError as error:
        yield "training.objective", str(error)


def objective_suits_architecture(config: Sections) -> Iterator[Fault]:
    """A causal objective needs a model that cannot see ahead, a masked one a model that can."""
    architecture, objective = architecture_of(config), objective_of(config)
    if architecture is None or objective is None:
        return
    causal = architecture.causal_with(config.model.section)
    named = f"{architecture.name!r}"
    if {objective.name, objective.variant_of}.isdisjoint(architecture.objectives):
        known = ", ".join(architecture.objectives)
        yield (
            "training.objective",
            f"{objective.name!r} does not suit architecture {named}; use {known}",
        )
    elif objective.requires_causal and not causal:
        yield (
            "training.objective",
            f"{objective.name!r} needs a causal model, but {named} reads in both directions here "
            "and would see its own targets; set "
            f"model.{architecture.section}.bidirectional=false or training.objective=masked_lm",
        )
    elif causal and not objective.requires_causal:
        yield (
            "training.objective",
            f"{objective.name!r} needs a model that reads in both directions, but {named} is "
            f"causal here; set model.{architecture.section}.bidirectional=true or "
            "training.objective=causal_lm",
        )


def objective_has_its_mask_token(config: Sections) -> Iterator[Fault]:
    """A masked objective needs a mask token."""
    objective = objective_of(config)
    special_tokens = config.tokenizer.special_tokens
    if objective and objective.needs_mask_token and special_tokens.get("mask", "") is None:
        yield (
            "tokenizer.special_tokens.mask",
            f"is null, but {objective.name!r} needs a mask token; leave it out",
        )


def special_tokens_have_roles(config: Sections) -> Iterator[Fault]:
    """Special tokens are given by role, and only the mask token can be done without."""
    for role, token in config.tokenizer.special_tokens.items():
        field = f"tokenizer.special_tokens.{role}"
        if role.removesuffix("_token") not in SPECIAL_TOKEN_ROLES:
            yield field, f"is not a role; the roles are {', '.join(SPECIAL_TOKEN_ROLES)}"
        elif token is None and role != "mask":
            yield field, "is null, but only mask can be; give a string, or leave it out"


def embedding_fits_hidden_size(config: Sections) -> Iterator[Fault]:
    """Some architectures add embeddings to the residual stream without a projection."""
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
    """`rnn_type` repeats the architecture, or is left out."""
    section, architecture = config.model.rnn, architecture_of(config)
    if section is None or architecture is None or architecture.schema is not RNNModelConfig:
        return
    if section.rnn_type not in (None, architecture.name):
        yield (
            "model.rnn.rnn_type",
            f"must equal model.architecture (={architecture.name!r}), got {section.rnn_type!r}; "
            "leave it out",
        )


def block_fits_positions(config: Sections) -> Iterator[Fault]:
    """A block is no longer than the positions that the model can tell apart."""
    section, length = config.model.transformer, config.data.max_sequence_length
    positions = section.max_position_embeddings if section else None
    if positions is not None and length > positions:
        yield (
            "data.max_sequence_length",
            f"(={length}) exceeds model.transformer.max_position_embeddings (={positions}); "
            "lower the first or raise the second",
        )


def _content(config: Sections) -> int:
    """Return the tokens of text in one block."""
    objective = objective_of(config)
    framing = objective.framing_tokens if objective else 0
    return config.data.content_tokens or config.data.max_sequence_length - framing


def content_fits_block(config: Sections) -> Iterator[Fault]:
    """The text of a block and its framing fit into the block."""
    objective, data = objective_of(config), config.data
    framing = objective.framing_tokens if objective else 0
    if data.max_sequence_length <= framing:
        yield (
            "data.max_sequence_length",
            f"(={data.max_sequence_length}) leaves no room beside the {framing} framing tokens of "
            f"{config.training.objective!r}; raise it",
        )
    elif data.content_tokens and data.content_tokens + framing > data.max_sequence_length:
        yield (
            "data.content_tokens",
            f"(={data.content_tokens}) and {framing} framing tokens exceed "
            f"data.max_sequence_length (={data.max_sequence_length}); lower the first or raise the "
            "last",
        )


def overlap_leaves_room(config: Sections) -> Iterator[Fault]:
    """A row that repeats tokens as context has new ones too."""
    data = config.data
    room = _content(config)
    if data.packing == "documents" and 0 < room <= data.document_overlap:
        yield (
            "data.document_overlap",
            f"must be < the {room} tokens of text in a block, got {data.document_overlap}; lower "
            "it or raise data.max_sequence_length",
        )


def documents_can_be_kept_apart(config: Sections) -> Iterator[Fault]:
    """Packing by documents needs a model that can be kept from seeing across their ends."""
    architecture = architecture_of(config)
    if config.data.packing == "documents" and architecture and not architecture.isolates_documents:
        yield (
            "data.packing",
            f"'documents' needs a model that sees no other document of its row, which "
            f"{architecture.name!r} cannot; use blocks or streams",
        )


def state_goes_on_along_a_stream(config: Sections) -> Iterator[Fault]:
    """A state is carried by a recurrent model that reads one way, through text that goes on."""
    architecture, objective = architecture_of(config), objective_of(config)
    if not config.training.carry_state:
        return
    remedy = "leave training.carry_state out"
    if config.data.packing != "streams":
        yield (
            "training.carry_state",
            f"needs rows that go on, but data.packing is {config.data.packing!r}; set "
            f"data.packing=streams, or {remedy}",
        )
    if architecture and "carry_state" not in architecture.settings:
        yield (
            "training.carry_state",
            f"needs a recurrent model, but {architecture.name!r} has no state to carry; {remedy}",
        )
    elif objective and not objective.requires_causal:
        yield (
            "training.carry_state",
            f"needs a model that reads from left to right, but {objective.name!r} trains one that "
            f"reads both ways; {remedy}",
        )


def budgets_can_be_counted(config: Sections) -> Iterator[Fault]:
    """A budget in tokens needs a tokenizer that does not depend on what the budget leaves."""
    if config.data.counts_tokens and config.tokenizer.path is None:
        yield (
            "tokenizer.path",
            "is needed by a budget in tokens, which the tokenizer must not be trained on; give a "
            "trained one, or a budget in words",
        )


def controls_are_matched(config: Sections) -> Iterator[Fault]:
    """A control takes out as many sentences as are matched, wherever they stand."""
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


def split_suits_the_source(config: Sections) -> Iterator[Fault]:
    """The last part of a mixture is no sample of it, and a position counts no documents."""
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


def horizon_is_given_once(config: Sections) -> Iterator[Fault]:
    """A run is measured in steps or in epochs."""
    steps, epochs = config.training.max_steps, config.training.epochs
    if steps is None and epochs is None:
        yield "training.max_steps", "is required, unless training.epochs is given"
    elif steps is not None and epochs is not None:
        yield (
            "training.epochs",
            f"(={epochs}) and training.max_steps (={steps}) both set the length of the run; "
            "drop one",
        )


def warmup_within_horizon(config: Sections) -> Iterator[Fault]:
    """The warm-up ends before the run does."""
    warmup, steps = config.training.warmup_steps, config.training.max_steps
    if steps is not None and warmup > steps:
        law = f"must be <= training.max_steps (={steps}), got {warmup}"
        yield "training.warmup_steps", f"{law}; lower the first or raise the second"


def minimum_below_peak(config: Sections) -> Iterator[Fault]:
    """The learning rate falls from its peak to its minimum."""
    low, peak = config.training.min_learning_rate, config.training.learning_rate
    if low > peak:
        yield "training.min_learning_rate", f"must be <= learning_rate (={peak:g}), got {low:g}"


def run_directory_is_a_place(config: Sections) -> Iterator[Fault]:
    """The run directory is a directory of its own."""
    text = str(config.output_dir)
    nameless = config.output_dir.name in {"", ".."}  # could not be moved aside for a fresh run
    if nameless or not text.isprintable():
        yield "output_dir", f"must name a directory of its own, got {text!r}"


def interventions_are_known(config: Sections) -> Iterator[Fault]:
    """Each step is registered, and its settings are what its function takes."""
    for number, step in enumerate(config.data.interventions):
        field = f"data.interventions.{number}"
        try:
            registered = INTERVENTIONS.load(step.step).intervention
        except ConfigError as error:  # unknown, or of a package that cannot be imported
            yield f"{field}.step", str(error)
            continue
        for setting, message in registered.faults(step.settings):
            yield f"{field}.{setting}".removesuffix("."), message


LAWS = (
    objective_is_known,
    objective_suits_architecture,
    objective_has_its_mask_token,
    special_tokens_have_roles,
    embedding_fits_hidden_size,
    rnn_type_is_the_architecture,
    block_fits_positions,
    content_fits_block,
    overlap_leaves_room,
    documents_can_be_kept_apart,
    state_goes_on_along_a_stream,
    budgets_can_be_counted,
    split_suits_the_source,
    controls_are_matched,
    horizon_is_given_once,
    warmup_within_horizon,
    minimum_below_peak,
    run_directory_is_a_place,
    interventions_are_known,
)


def broken_laws(config: Sections) -> list[Fault]:
    """Return every fault of every law."""
    return [fault for law in LAWS for fault in law(config)]
