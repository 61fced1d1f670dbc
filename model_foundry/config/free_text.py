"""Free text among the values that came from the environment, which stays the expression."""

from dataclasses import replace
from typing import Any

from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.unexpanded import Unexpanded
from model_foundry.config.validation import validate
from model_foundry.errors import ConfigError


def keep_free_text(config: ExperimentConfig, raw: dict[str, Any]) -> ExperimentConfig:
    """Find out which values from the environment are free text; return the experiment.

    Args:
        raw: the plain data that it was made of.
    """
    environment = {
        name: replace(found, is_free_text=_is_free_text(config, raw, name, found))
        for name, found in config.origins.environment.items()
    }
    config.keep_origins(replace(config.origins, environment=environment))
    return config


def _is_free_text(
    config: ExperimentConfig, raw: dict[str, Any], name: str, found: Unexpanded
) -> bool:
    """Return True for text in whose place an expression would be accepted too.

    What describes the function of a model is none: it stands in the directory of the model as well,
    and is needed there.
    """
    of_function = name.startswith(("model.", f"training.{config.training.objective}."))
    if not isinstance(found.value, str) or (of_function and name != "model.init_from"):
        return False
    try:
        validate(_with_value(raw, name.split("."), found.text), "")
    except ConfigError:
        return False
    return True


def _with_value(plain: Any, keys: list[str], value: Any) -> Any:
    """Return a copy of plain data with another value at a path."""
    if not keys:
        return value
    if isinstance(plain, list):
        place = int(keys[0])
        return [*plain[:place], _with_value(plain[place], keys[1:], value), *plain[place + 1 :]]
    return {**plain, keys[0]: _with_value(plain[keys[0]], keys[1:], value)}
