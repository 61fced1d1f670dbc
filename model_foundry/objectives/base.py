"""`Objective`: the framing and labelling of blocks, and the labels that count.

The training loop uses nothing else of causal and masked language modelling. Further objectives are
added with `@register_objective`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, TypeVar

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.config import OBJECTIVES, ExperimentConfig, ObjectiveSpec
from model_foundry.data_collators import Collator


class Objective(ABC):
    """A training objective."""

    def frame(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        """Return the ids that stand before and after the text of each block; none by default.

        Raises:
            DataError: the tokenizer lacks them.
        """
        return [], []

    @abstractmethod
    def collator(self, config: ExperimentConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
        """Return the collator that turns blocks into labelled batches."""

    def needs_word_starts(self, config: ExperimentConfig) -> bool:
        """Return True if the collator needs `word_starts`; False by default."""
        return False

    @abstractmethod
    def scored(self, labels: Tensor) -> Tensor:
        """Return the tokens that a model's loss counts, (B, T) bool, given the labels (B, T)."""


O = TypeVar("O", bound=type[Objective])  # noqa: E741 - the letter of the thing


def register_objective(
    name: str,
    *,
    direction: Literal["left_to_right", "both", "any"] = "any",
    variant_of: str | None = None,
    framing_tokens: int = 0,
    needs_mask_token: bool = False,
    settings: tuple[str, ...] = (),
) -> Callable[[O], O]:
    """Register an `Objective` subclass; the arguments are those of `ObjectiveSpec`.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: the class is no subclass of `Objective`.
    """

    def register(objective: O) -> O:
        if not (isinstance(objective, type) and issubclass(objective, Objective)):
            raise TypeError(f"{objective!r} must be a subclass of Objective to be registered")
        spec = ObjectiveSpec(
            name=name,
            target=f"{objective.__module__}:{objective.__qualname__}",
            direction=direction,
            variant_of=variant_of,
            framing_tokens=framing_tokens,
            needs_mask_token=needs_mask_token,
            settings=settings,
        )
        OBJECTIVES.add(spec, objective)
        return objective

    return register
