"""The length of the targets that an encoder-decoder writes, as far as the settings tell it."""

from collections.abc import Iterator

from model_foundry.config.section_checks import Fault, Sections, objective_of
from model_foundry.config.seq2seq import SpanDenoisingConfig


def longest_target(config: Sections) -> tuple[str, int] | None:
    """Return the setting that decides how long a target is, and its tokens at most.

    None: no setting does, and a target is no longer than `data.max_sequence_length`.
    """
    objective, data = objective_of(config), config.data
    section = objective and getattr(config.training, objective.name, None)
    if objective and isinstance(section, SpanDenoisingConfig):
        text = data.content_tokens or data.max_sequence_length - objective.framing_tokens
        return "hidden_share", section.longest_target(text)
    length = getattr(section, "max_target_length", None)
    return None if length is None else ("max_target_length", length)


def positions_needed(config: Sections) -> int:
    """Return the tokens of the longest source or target."""
    _, target = longest_target(config) or ("", 0)
    return max(config.data.max_sequence_length, target)


def targets_fit_positions(config: Sections) -> Iterator[Fault]:
    """Check that a target is no longer than the learned positions of the model."""
    backbone, found = getattr(config.model, "backbone", None), longest_target(config)
    positions = getattr(backbone, "max_position_embeddings", None)
    if backbone is None or positions is None or found is None or backbone.positions != "learned":
        return
    setting, length = found
    if length > positions:
        objective = config.training.objective
        value = getattr(getattr(config.training, objective), setting)
        yield (
            f"training.{objective}.{setting}",
            f"(={value}) gives targets of up to {length} tokens, more than "
            f"model.backbone.max_position_embeddings (={positions}); lower the first or raise the "
            "second",
        )
