"""Checks between the sections of an experiment, and the list of all checks."""

from collections.abc import Iterator

from model_foundry.config import optimization_checks, section_checks, selection_checks
from model_foundry.config.built_in import ARCHITECTURES, HEADS, METRICS
from model_foundry.config.section_checks import Fault, Sections, architecture_of, objective_of
from model_foundry.config.specs import ArchitectureSpec, ObjectiveSpec
from model_foundry.config.target_lengths import targets_fit_positions


def objective_suits_kind(config: Sections) -> Iterator[Fault]:
    """Check that the objective trains models of the architecture's kind, or a head on them."""
    yield from kinds_suit(architecture_of(config), objective_of(config))


def kinds_suit(
    architecture: ArchitectureSpec | None, objective: ObjectiveSpec | None
) -> Iterator[Fault]:
    """Check that an architecture, with or without a head, gives models of the kind that an
    objective trains; None: not registered."""
    if architecture is None or objective is None or objective.model_kind in architecture.kinds:
        return
    kind = objective.model_kind
    head = HEADS.get(kind)
    if head is not None and head.of == architecture.kind:
        return
    kinds = {kind, head.of} if head else {kind}
    known = ARCHITECTURES.known()
    suiting = ", ".join(each.name for each in known if not kinds.isdisjoint(each.kinds))
    remedy = (
        f"architectures of that kind: {suiting}"
        if suiting
        else "no architecture of that kind is registered"
    )
    yield (
        "training.objective",
        f"{objective.name!r} trains models of kind {kind!r}, but {architecture.name!r} is of kind "
        f"{architecture.kind!r}; {remedy}",
    )


def objective_suits_architecture(config: Sections) -> Iterator[Fault]:
    """Check that the objective suits the architecture and the direction in which it reads."""
    architecture, objective = architecture_of(config), objective_of(config)
    if architecture is None or objective is None or objective.model_kind != architecture.kind:
        return
    named, known = f"{architecture.name!r}", architecture.objectives
    if known and {objective.name, objective.variant_of}.isdisjoint(known):
        law = f"{objective.name!r} does not suit architecture {named}; use {', '.join(known)}"
        yield "training.objective", law
    else:
        yield from _direction_suits(config, architecture, objective)


def _direction_suits(
    config: Sections, architecture: ArchitectureSpec, objective: ObjectiveSpec
) -> Iterator[Fault]:
    causal, field = architecture.causal_with(config.model.section), "training.objective"
    named, section = f"{architecture.name!r}", f"model.{architecture.section}"
    by_head = hasattr(config.model.section, "head")
    if objective.direction == "left_to_right" and causal is False:
        setting = f"{section}.head=causal" if by_head else f"{section}.bidirectional=false"
        yield (
            field,
            f"{objective.name!r} needs a causal model, but {named} reads in both directions here "
            f"and would see its own targets; set {setting} or {field}=masked_lm",
        )
    elif objective.direction == "both" and causal:
        setting = f"{section}.head=masked" if by_head else f"{section}.bidirectional=true"
        yield (
            field,
            f"{objective.name!r} needs a model that reads in both directions, but {named} is "
            f"causal here; set {setting} or {field}=causal_lm",
        )


def objective_has_its_mask_token(config: Sections) -> Iterator[Fault]:
    """Check that a masked objective has its mask token."""
    objective = objective_of(config)
    special_tokens = config.tokenizer.special_tokens
    if objective and objective.needs_mask_token and special_tokens.get("mask", "") is None:
        yield (
            "tokenizer.special_tokens.mask",
            f"is null, but {objective.name!r} needs a mask token; leave it out",
        )


def block_fits_positions(config: Sections) -> Iterator[Fault]:
    """Check that a block is no longer than the positions of the model."""
    length, model = config.data.max_sequence_length, config.model
    sections = {
        "model.backbone": getattr(model, "backbone", None),
        "model.transformer": model.transformer,
    }
    for name, section in sections.items():
        positions = getattr(section, "max_position_embeddings", None)
        limited = getattr(section, "positions", "learned") == "learned"
        if limited and positions is not None and length > positions:
            begun = model.init_from is not None  # the weights have that many positions
            yield (
                "data.max_sequence_length",
                f"(={length}) exceeds {name}.max_position_embeddings (={positions}); "
                f"lower the first{'' if begun else ' or raise the second'}",
            )


def stacks_are_there(config: Sections) -> Iterator[Fault]:
    """Check that only an encoder-decoder is given the layers of an encoder and a decoder."""
    architecture, section = architecture_of(config), getattr(config.model, "backbone", None)
    if architecture is None or section is None or architecture.kind == "encoder_decoder":
        return
    for stack in ("encoder", "decoder"):
        if getattr(section, stack, None) is not None:
            law = f"is for encoder-decoders, and {architecture.name!r} has one stack"
            yield f"model.backbone.{stack}", f"{law}; set model.backbone.layers"


def metrics_suit_the_labels(config: Sections) -> Iterator[Fault]:
    """Check that a task with several labels has no metrics of one, and the other way round."""
    objective = objective_of(config)
    if objective is None or "multi_label" not in getattr(objective.schema, "model_fields", ()):
        return
    several = config.training.section_of(objective.name).multi_label
    number, remedy = ("one label", "micro_f1 or macro_f1") if several else ("several", "accuracy")
    value = f"training.{objective.name}.multi_label is {'true' if several else 'false'}"
    for field in ("metrics", "train_metrics"):
        for spec in filter(None, map(METRICS.get, getattr(config.training, field))):
            if spec.several_labels not in (None, several):
                law = f"{spec.name!r} is for examples with {number}, and {value}"
                yield f"training.{field}", f"{law}; name {remedy}"


def _framing(config: Sections) -> int:
    objective = objective_of(config)
    return objective.framing_tokens if objective else 0


def frame_leaves_room(config: Sections) -> Iterator[Fault]:
    """Check that the framing leaves room for text."""
    data, framing = config.data, _framing(config)
    if data.max_sequence_length <= framing:
        yield (
            "data.max_sequence_length",
            f"(={data.max_sequence_length}) leaves no room beside the {framing} framing tokens of "
            f"{config.training.objective!r}; raise it",
        )


def content_fits_block(config: Sections) -> Iterator[Fault]:
    """Check that a block has room for as much text as it must have, and the framing."""
    data, framing = config.data, _framing(config)
    room = data.max_sequence_length - framing
    if data.content_tokens and 0 < room < data.content_tokens:
        yield (
            "data.content_tokens",
            f"(={data.content_tokens}) and {framing} framing tokens exceed "
            f"data.max_sequence_length (={data.max_sequence_length}); lower the first or raise the "
            "last",
        )


def overlap_leaves_room(config: Sections) -> Iterator[Fault]:
    """Check that a row with overlap also has new tokens."""
    data = config.data
    room = data.content_tokens or data.max_sequence_length - _framing(config)
    if data.packing == "documents" and 0 < room <= data.document_overlap:
        yield (
            "data.document_overlap",
            f"must be < the {room} tokens of text in a block, got {data.document_overlap}; lower "
            "it or raise data.max_sequence_length",
        )


def documents_are_isolated(config: Sections) -> Iterator[Fault]:
    """Check that packing by documents has a model that isolates documents."""
    architecture, objective = architecture_of(config), objective_of(config)
    if config.data.packing != "documents" or architecture is None:
        return
    other_kind = objective is not None and objective.model_kind in architecture.other_kinds
    if other_kind or not architecture.isolates_documents:
        yield (
            "data.packing",
            f"'documents' needs a model that sees no other document of its row, which "
            f"{architecture.name!r} cannot; use blocks or streams",
        )


def carried_state_needs_streams(config: Sections) -> Iterator[Fault]:
    """Check that a carried state has streams and a recurrent model that reads one way."""
    architecture, objective = architecture_of(config), objective_of(config)
    if not config.training.carry_state:
        return
    field, packing = "training.carry_state", config.data.packing
    if objective and not objective.reads_token_stream:
        law = f"needs a token stream that continues, which {objective.name!r} does not read"
        yield field, f"{law}; leave {field} out"
        return
    if packing != "streams":
        law = f"needs rows that continue, but data.packing is {packing!r}"
        yield field, f"{law}; set data.packing=streams, or leave {field} out"
    if architecture and "carry_state" not in architecture.settings:
        law = f"needs a recurrent model, but {architecture.name!r} has no state to carry"
        yield field, f"{law}; leave {field} out"
    elif objective and objective.direction != "left_to_right":
        law = f"needs a model that reads from left to right, but {objective.name!r} trains one that"
        yield field, f"{law} reads both ways; leave {field} out"


def milestones_are_counted(config: Sections) -> Iterator[Fault]:
    """Check that milestones are in units that the objective counts."""
    objective = objective_of(config)
    for unit in ("words", "tokens"):
        if objective and unit not in objective.units and getattr(config.training.milestones, unit):
            counted = ", ".join(("examples", *objective.units))
            law = f"{objective.name!r} counts no {unit}, only {counted}"
            yield f"training.milestones.{unit}", f"{law}; give milestones in steps"


def token_budgets_need_a_tokenizer(config: Sections) -> Iterator[Fault]:
    """Check that a budget in tokens has a trained tokenizer, which does not depend on it."""
    if config.data.counts_tokens and config.tokenizer.path is None:
        yield (
            "tokenizer.path",
            "is needed by a budget in tokens, which the tokenizer must not be trained on; give a "
            "trained one, or a budget in words",
        )


OF_TEXT = (
    objective_has_its_mask_token,
    section_checks.special_tokens_have_roles,
    block_fits_positions,
    content_fits_block,
    overlap_leaves_room,
    documents_are_isolated,
    token_budgets_need_a_tokenizer,
)
"""Checks where the examples are cut from a token stream."""
CHECKS = (
    section_checks.names_are_registered,
    selection_checks.metrics_are_measured,
    selection_checks.early_stopping_has_evaluations,
    selection_checks.best_model_has_a_checkpoint,
    selection_checks.average_is_of_whole_weights,
    section_checks.metrics_suit_the_objective,
    section_checks.train_metrics_are_measurable,
    section_checks.transforms_are_known,
    section_checks.keys_are_of_what_is_measured,
    metrics_suit_the_labels,
    objective_suits_kind,
    objective_suits_architecture,
    stacks_are_there,
    frame_leaves_room,
    *OF_TEXT,
    targets_fit_positions,
    carried_state_needs_streams,
    milestones_are_counted,
    section_checks.embedding_fits_hidden_size,
    section_checks.rnn_type_is_the_architecture,
    section_checks.split_suits_the_source,
    section_checks.records_have_no_settings_of_text,
    section_checks.controls_are_matched,
    optimization_checks.length_is_given_once,
    optimization_checks.minimum_within_length,
    optimization_checks.warmup_within_run,
    optimization_checks.minimum_below_peak,
    optimization_checks.plateaus_are_evaluated,
    optimization_checks.gradients_are_clipped_once,
    section_checks.run_directory_is_named,
    section_checks.interventions_are_known,
)


def find_faults(config: Sections) -> list[Fault]:
    """Return the faults of all checks that apply."""
    objective = objective_of(config)
    skipped = () if objective is None or objective.reads_token_stream else OF_TEXT
    return [fault for check in CHECKS if check not in skipped for fault in check(config)]
