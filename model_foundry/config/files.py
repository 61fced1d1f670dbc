"""Experiment files: composed, overridden and validated; and back out.

Every fault of a file is reported, one per line. `yaml_reader` defines the YAML.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar, overload

from pydantic import BaseModel, ValidationError

from model_foundry.config.composition import compose_file
from model_foundry.config.error_messages import describe
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.expressions import escape
from model_foundry.config.free_text import keep_free_text
from model_foundry.config.groups import lay_over_groups, names_group, replace_sections
from model_foundry.config.interpolation import interpolate
from model_foundry.config.layers import Layer
from model_foundry.config.origins import OVERRIDE
from model_foundry.config.overrides import apply_override, parse_override
from model_foundry.config.tracker_secrets import secret_faults
from model_foundry.config.validation import refusal, validate
from model_foundry.config.yaml_reader import dump_yaml
from model_foundry.foundation.messages import printable

logger = logging.getLogger(__name__)

WARMUP = "training.warmup_steps"
M = TypeVar("M", bound=BaseModel)


def experiment_of(given: ExperimentConfig | str | Path) -> ExperimentConfig:
    """Return an experiment, loaded where its file is given.

    Raises:
        ConfigError: the file is no experiment.
        TypeError: it is neither an experiment nor a file.
    """
    if isinstance(given, ExperimentConfig):
        return given
    if isinstance(given, str | Path):
        return load_config(given)
    raise TypeError(
        f"an experiment is an ExperimentConfig or the path of its file, got a "
        f"{type(given).__name__}; make one with load_config(path) or ExperimentConfig(**settings)"
    )


@overload
def load_config(
    path: str | Path, *, overrides: Sequence[str] = ()
) -> ExperimentConfig: ...  # fmt: skip
@overload
def load_config(
    path: str | Path, section: str, model: type[M], *, overrides: Sequence[str] = ()
) -> M: ...
def load_config(
    path: str | Path,
    section: str | None = None,
    model: type[M] | None = None,
    *,
    overrides: Sequence[str] = (),
) -> ExperimentConfig | M:
    """Load an experiment, or one section of it.

    Args:
        path: the experiment file.
        section: key of the one section to load; None: the whole experiment.
        model: pydantic class of that section; given exactly when `section` is.
        overrides: `key.key=value`, `+key=value` and `~key` strings, and groups such as
            `model=lstm_medium`, applied before anything is validated.

    Raises:
        ConfigError: with one line for every fault of the file.
    """
    if (section is None) is not (model is None):
        raise TypeError("load_config: section and model go together; give both or neither")
    if isinstance(overrides, str | Mapping):
        raise TypeError("load_config: overrides is a list of 'key.key=value' strings")
    layer = _composed(path, overrides)
    raw, origins = interpolate(layer, str(path), section=section)
    if section is None or model is None:
        config = keep_free_text(validate(raw, str(path), origins=origins), raw)
        if faults := list(secret_faults(config)):
            raise refusal(faults, str(path), config.origins)
        return config
    if section not in raw:
        raise refusal([(section, "is required")], str(path), origins)
    try:
        return model.model_validate(raw[section])
    except ValidationError as error:
        faults = describe(error, model)
        lines = [(f"{section}.{field}".rstrip("."), message) for field, message in faults]
        raise refusal(lines, str(path), origins) from (None if origins.environment else error)


def read_saved_config(path: str | Path) -> ExperimentConfig:
    """Load the file of a run, of which the variables of the environment need not be set any more.

    Raises:
        ConfigError: with one line for every fault of the file.
    """
    raw, origins = interpolate(compose_file(path), str(path), keep_unset=True)
    return keep_free_text(validate(raw, str(path), origins=origins), raw)


def _composed(path: str | Path, overrides: Sequence[str]) -> Layer:
    """Return the plain data of a file after groups and overrides, and the origins of its values."""
    layer, changes = compose_file(path), [parse_override(text) for text in overrides]
    groups = [override for override in changes if names_group(override)]
    replace_sections(layer, groups, Path(path))
    before = Layer(deepcopy(layer.data), dict(layer.given))
    lay_over_groups(layer, groups, Path(path))
    for override in changes:
        if not names_group(override):
            apply_override(layer, override)
    _fit_warmup(layer, before)
    return layer


def _fit_warmup(layer: Layer, before: Layer) -> None:
    """Shorten a warm-up that no longer fits a run that the command line has shortened.

    It keeps its share of the run, or takes a tenth where the files give epochs.

    Args:
        before: the layer of the files. One that contradicts itself stays wrong.
    """
    now, then = layer.data.get("training"), before.data.get("training")
    is_named = layer.given.get(WARMUP) != before.given.get(WARMUP)
    if not (isinstance(now, dict) and isinstance(then, dict)) or is_named:
        return
    steps, warmup, own = now.get("max_steps"), then.get("warmup_steps"), then.get("max_steps")
    if type(steps) is not int or type(warmup) is not int or not 0 < steps < warmup:
        return
    if own is not None and not (type(own) is int and own >= warmup):
        return
    now["warmup_steps"] = fitting = steps // 10 if own is None else warmup * steps // own
    layer.mark([WARMUP], OVERRIDE)
    reason = f"because the command line sets training.max_steps={steps}"
    logger.warning("%s: %d -> %d, %s", WARMUP, warmup, fitting, reason)


def save_config(config: ExperimentConfig, notes: Iterable[str] = ()) -> str:
    """Return YAML text that loads back to the identical experiment, below `notes` as comments.

    Free text that came from the environment is written as the expression that it was given by.
    """
    known = config.origins.environment.items()
    expanded = [f"{name}: from {each.text}" for name, each in known if not each.is_free_text]
    comments = "".join(f"# {printable(note)}\n" for note in (*notes, *expanded))
    return comments + dump_yaml(config.recorded(literal=escape))
