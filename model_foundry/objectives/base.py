"""What a model is trained to do: how blocks are framed and labelled, and which labels count.

An objective is all that the training loop knows of causal and masked language modelling. Others
are added with `@register_objective`; what can be said of one without torch stands in its spec.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

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
        """Return what turns blocks into labelled batches."""

    def needs_word_starts(self, config: ExperimentConfig) -> bool:
        """Tell whether the collator must know where words begin; by default it need not."""
        return False

    @abstractmethod
    def scored(self, labels: Tensor) -> Tensor:
        """Return which tokens a model's loss counts, (B, T) bool, given the labels (B, T)."""


O = TypeVar("O", bound=type[Objective])  # noqa: E741 - the letter of the thing


def register_objective(
    name: str,
    *,
    requires_causal: bool,
    variant_of: str | None = None,
    framing_tokens: int = 0,
    needs_mask_token: bool = False,
    settings: tuple[str, ...] = (),
) -> Callable[[O], O]:
    """Register an `Objective` subclass; the arguments are those of `ObjectiveSpec`.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: what is decorated is no `Objective` subclass.
    """

    def register(objective: O) -> O:
        if not (isinstance(objective, type) and issubclass(objective, Objective)):
            raise TypeError(f"{objective!r} must be a subclass of Objective to be registered")
        spec = ObjectiveSpec(
            name=name,
            target=f"{objective.__module__}:{objective.__qualname__}",
            requires_causal=requires_causal,
            variant_of=variant_of,
            framing_tokens=framing_tokens,
            needs_mask_token=needs_mask_token,
            settings=settings,
        )
        OBJECTIVES.add(spec, objective)
        return objective

    return register
