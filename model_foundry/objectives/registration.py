"""The decorator by which a task becomes a `training.objective`."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import pydantic

from model_foundry.config import OBJECTIVES, ObjectiveSpec
from model_foundry.config.specs import TEXT_METRICS
from model_foundry.objectives.base import Objective
from model_foundry.objectives.language import LanguageObjective
from model_foundry.objectives.processors import require_roles
from model_foundry.registry import register_in

O = TypeVar("O", bound=type[Objective])  # noqa: E741 - the letter of the thing


def register_objective(
    name: str,
    *,
    direction: Literal["left_to_right", "both", "any"] = "any",
    model_kind: str = "language",
    schema: type[pydantic.BaseModel] | None = None,
    losses: dict[str, float] | None = None,
    metrics: tuple[str, ...] | None = None,
    variant_of: str | None = None,
    framing_tokens: int = 0,
    needs_mask_token: bool = False,
    settings: tuple[str, ...] = (),
) -> Callable[[O], O]:
    """Return a decorator that registers an `Objective`; the arguments are those of `ObjectiveSpec`.

    Args:
        losses: None: the model's own.
        metrics: None: the loss, and of a `LanguageObjective` its perplexity and bits per byte.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: the class is no complete subclass of `Objective`, or an argument or the role of a
            processor is not of the right form.
    """
    if not (isinstance(losses, dict | None) and isinstance(metrics, tuple | list | None)):
        law = "losses must be a dict of weights by name, metrics a tuple of names"
        raise TypeError(f"{law}, got {losses!r} and {metrics!r}")
    facts: dict[str, Any] = {
        "direction": direction,
        "model_kind": model_kind,
        "schema": schema,
        "losses": losses or {"model": 1.0},
        "variant_of": variant_of,
        "framing_tokens": framing_tokens,
        "needs_mask_token": needs_mask_token,
        "settings": settings,
    }

    def register(cls: O) -> O:
        of_class = _facts_of(cls) if isinstance(cls, type) else {}
        chosen = {"metrics": tuple(metrics)} if metrics else {}
        given = facts | of_class | chosen
        return register_in(OBJECTIVES, ObjectiveSpec, name, base=Objective, **given)(cls)

    return register


def _facts_of(cls: type) -> dict[str, Any]:
    """Return what the configuration knows of a class without being told."""
    require_roles(cls.__name__, getattr(cls, "processor_types", {}))
    if issubclass(cls, LanguageObjective):
        return {"metrics": TEXT_METRICS}
    return {"reads_token_stream": False, "units": tuple(getattr(cls, "units", ()))}
