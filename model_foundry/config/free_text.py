"""Free text among the values that came from the environment, which stays the expression."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.validation import validate
from model_foundry.errors import ConfigError


def keep_free_text(config: ExperimentConfig, raw: dict[str, Any]) -> ExperimentConfig:
    """Find out which values from the environment are free text; return the experiment.

    Args:
        raw: the plain data that it was made of.
    """
    known = config.origins.environment
    texts = {
        name: found.text
        for name, found in known.items()
        if isinstance(found.value, str) and not _is_of_function(config, name)
    }
    free = _replaceable(raw, texts)
    environment = {name: replace(each, is_free_text=name in free) for name, each in known.items()}
    config.keep_origins(replace(config.origins, environment=environment))
    return config


def _is_of_function(config: ExperimentConfig, name: str) -> bool:
    """Return True for what describes the function of a model.

    It stands in the directory of the model as well, and is needed there.
    """
    of_function = name.startswith(("model.", f"training.{config.training.objective}."))
    return of_function and name != "model.init_from"


def _replaceable(raw: dict[str, Any], texts: Mapping[str, str]) -> set[str]:
    """Return the names of the values in whose place an expression would be accepted too.

    All are tried at once, and where some are refused, each half of them.
    """
    try:
        validate(_with_texts(raw, texts), "")
    except ConfigError:
        if len(texts) < 2:
            return set()
        pairs = list(texts.items())
        middle = len(pairs) // 2
        halves = dict(pairs[:middle]), dict(pairs[middle:])
        return _replaceable(raw, halves[0]) | _replaceable(raw, halves[1])
    return set(texts)


def _with_texts(plain: Any, texts: Mapping[str, str], name: str = "") -> Any:
    """Return a copy of plain data with other text at dotted names, in which keys may have dots."""
    prefix = f"{name}." if name else ""
    if isinstance(plain, dict):
        return {key: _with_texts(below, texts, f"{prefix}{key}") for key, below in plain.items()}
    if isinstance(plain, list):
        return [_with_texts(below, texts, f"{prefix}{n}") for n, below in enumerate(plain)]
    return texts.get(name, plain)
