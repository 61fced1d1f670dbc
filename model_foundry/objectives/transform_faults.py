"""Faults of what transforms give, told of the entry of `training.transforms` that causes them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from model_foundry.architectures.plugin_check import PluginFault
from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.loaders import Collate
from model_foundry.errors import ConfigError, DataError, FoundryError, is_out_of_memory
from model_foundry.foundation.plugins import describe_error
from model_foundry.objectives.base import Prepared
from model_foundry.objectives.tensor_transforms import token_dropout
from model_foundry.objectives.transforms import Transform, Transformed, transforms_of

Check = Callable[[Prepared], None]


def require_known_tokens(config: ExperimentConfig, arguments: Callable[[], Any]) -> None:
    """Require that `token_dropout` replaces tokens by one of the vocabulary.

    Args:
        arguments: returns those of the model; one without `vocab_size` is not checked.

    Raises:
        ConfigError: the replacement is none of its tokens.
    """
    for step in transforms_of(config):
        if isinstance(step, Transform) and step.function is token_dropout:
            size = _vocabulary(arguments(), step.to)
            given = step.settings["replacement"]
            if size is not None and given >= size:
                law = f"replacement (={given}) must be < {size}, the size of the vocabulary"
                raise ConfigError(f"{step.field}: {law}")


def _vocabulary(arguments: Mapping[str, Any], tensor: str) -> int | None:
    of_sources = arguments.get("source_vocab_size") if tensor == "input_ids" else None
    return of_sources or arguments.get("vocab_size")


def check_transformed(check: Check, prepared: Prepared) -> None:
    """Run a check of what a training reads.

    Raises:
        ConfigError: the check fails, or fails only since a transform changed the batches, which
            the message then names.
        DataError: the check raises it without transforms, too.
    """
    try:
        check(prepared)
    except Exception as error:
        own = isinstance(error, FoundryError) and not isinstance(error, ConfigError | DataError)
        told = str(error).startswith("training.transforms.")
        field = None if own or told or is_out_of_memory(error) else _culprit(check, prepared)
        if field is None:
            raise
        law = error.law if isinstance(error, PluginFault) else describe_error(error)
        raise ConfigError(f"{field}: {law}") from error


def _culprit(check: Check, prepared: Prepared) -> str | None:
    """Return the field of the transform with which a check fails, and passes with those before."""
    steps = transforms_of(prepared.objective.config)
    for number in reversed(range(len(steps))):
        if _passes(check, _with_first(prepared, number)):
            return steps[number].field
    return None


def _passes(check: Check, prepared: Prepared) -> bool:
    try:
        check(prepared)
    except Exception:
        return False
    return True


def _with_first(prepared: Prepared, number: int) -> Prepared:
    """Return what a training reads with the first of its transforms only."""

    def cut(collate: Collate) -> Collate:
        if not isinstance(collate, Transformed):
            return collate
        steps = [step for step in collate.steps if step.place < number]
        return replace(collate, steps=steps) if steps else collate.collate

    return replace(prepared, collate=cut(prepared.collate), evaluating=cut(prepared.evaluating))
