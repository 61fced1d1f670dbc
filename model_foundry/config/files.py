"""Experiment files: YAML in, overrides merged, validated; and back out.

Every fault of a file is reported, one per line. `yaml_reader` defines the YAML.
"""

import codecs
import logging
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError

from model_foundry.config.error_messages import describe
from model_foundry.config.experiment import SET_BY_ONE_SEED, ExperimentConfig
from model_foundry.config.fields import names_below
from model_foundry.config.origins import Origins, origins_of_file
from model_foundry.config.validation import refusal, validate
from model_foundry.config.yaml_reader import Places, dump_yaml, parse_with_places, parse_yaml
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import one_line, short_repr
from model_foundry.foundation.paths import written_path

logger = logging.getLogger(__name__)

LARGEST_FILE = 1_000_000  # bytes; a bigger file is no experiment
DEEPEST_KEY = 20  # parts of the path of an override
M = TypeVar("M", bound=BaseModel)


def read_yaml(path: str | Path) -> tuple[dict[str, Any], Places]:
    """Read an experiment file as plain data, with the places of its keys.

    Raises:
        ConfigError: the file is missing, too large, not UTF-8, not YAML, or no mapping.
    """
    raw, places = parse_with_places(_read_text(path), str(path))
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else "a list" if isinstance(raw, list) else short_repr(raw)
        raise ConfigError(one_line(f"{path}: must hold a mapping of sections, found {found}"))
    return raw, places


def _read_text(path: str | Path) -> str:
    cause: Exception | None = None
    try:
        place = Path(written_path(path))
        if not stat.S_ISREG(place.stat().st_mode):  # a pipe or a device could block or never end
            reason = "is not a file; name an experiment file"
        else:
            with place.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)  # the size in its metadata may be wrong
            if len(content) > LARGEST_FILE:
                reason = f"larger than {LARGEST_FILE:,} bytes, so no experiment file"
            elif _is_utf16(content):
                reason = "is UTF-16 or UTF-32 text; save it as UTF-8"
            else:
                return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        cause, reason = error, "no such file; check the path"
    except UnicodeDecodeError as error:
        cause, line = error, error.object.count(b"\n", 0, error.start) + 1
        reason = f"not UTF-8 text at byte {error.start}, in line {line}; save it as UTF-8"
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte in the path; unknown home
        cause, reason = error, f"cannot be read ({getattr(error, 'strerror', error)})"
    raise ConfigError(one_line(f"{path}: {reason}")) from cause


def _is_utf16(content: bytes) -> bool:
    """Return True for UTF-16 and UTF-32: a mark, or ASCII characters of more than one byte."""
    return content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in content[:4]


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `training.max_steps=100` into its path and its value, which is read as YAML.

    Raises:
        ConfigError: there is no '=', or the path has an empty part or too many.
    """
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {short_repr(text)}: must read key.key=value")
    if len(keys) > DEEPEST_KEY:
        law = f"has {len(keys):,} parts; no key has more than {DEEPEST_KEY}"
        raise ConfigError(f"override {short_repr(text)}: {law}")
    return keys, parse_yaml(value, f"override {short_repr(text)}")


def apply_override(raw: dict[str, Any], text: str) -> None:
    """Set one dotted key in plain data, making the mappings on the way."""
    keys, value = parse_override(text)
    here = raw
    for depth, key in enumerate(keys[:-1], 1):
        below = here.get(key)
        if below is None:
            below = here[key] = {}
        if depth == 1 and key == "seed" and type(below) is int:
            # one for all: what is given apart is set apart, and the others stay
            below = here[key] = dict.fromkeys(SET_BY_ONE_SEED, below)
        if not isinstance(below, dict):
            taken = ".".join(keys[:depth])
            law = f"{taken} is the single value {short_repr(below)}"
            raise ConfigError(one_line(f"override {short_repr(text)}: {law}"))
        here = below
    here[keys[-1]] = value


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
        overrides: `key.key=value` strings, applied before anything is validated.

    Raises:
        ConfigError: with one line for every fault of the file.
    """
    if (section is None) is not (model is None):
        raise TypeError("load_config: section and model go together; give both or neither")
    if isinstance(overrides, str | Mapping):
        raise TypeError("load_config: overrides is a list of 'key.key=value' strings")
    raw, origins = _merged(path, overrides)
    if section is None or model is None:
        return validate(raw, str(path), origins=origins)
    if section not in raw:
        raise refusal([(section, "is required")], str(path), origins)
    try:
        return model.model_validate(raw[section])
    except ValidationError as error:
        faults = describe(error, model)
        lines = [(f"{section}.{field}".rstrip("."), message) for field, message in faults]
        raise refusal(lines, str(path), origins) from error


def _merged(path: str | Path, overrides: Sequence[str]) -> tuple[dict[str, Any], Origins]:
    """Return the plain data of a file after overrides, and the origins of its values."""
    raw, places = read_yaml(path)
    origins = origins_of_file(places, path)
    own = raw.get("training")
    own = dict(own) if isinstance(own, dict) else {}
    for text in overrides:
        keys, value = parse_override(text)
        if keys[0] == "seed" and type(raw.get("seed")) is int:  # one for all, which is set apart
            origins = origins.spread("seed", SET_BY_ONE_SEED)
        apply_override(raw, text)
        origins = origins.overridden(".".join(keys), names_below(value))
    if _fit_warmup(raw, own, overrides):
        origins = origins.overridden("training.warmup_steps")
    return raw, origins


def _fit_warmup(raw: dict[str, Any], own: Mapping[str, Any], overrides: Sequence[str]) -> bool:
    """Shorten a warm-up that no longer fits a run that an override has shortened.

    Args:
        own: section `training` as the file has it. A file that contradicts itself stays wrong.
    """
    named = {".".join(parse_override(text)[0]) for text in overrides}
    training = raw.get("training")
    if not isinstance(training, dict) or named & {"training", "training.warmup_steps"}:
        return False
    steps, warmup, before = training.get("max_steps"), own.get("warmup_steps"), own.get("max_steps")
    if type(steps) is not int or type(warmup) is not int or not 0 < steps < warmup:
        return False
    if before is not None and not (type(before) is int and before >= warmup):
        return False
    training["warmup_steps"] = steps
    reason = f"because the command line sets training.max_steps={steps}"
    logger.warning("training.warmup_steps: %d -> %d, %s", warmup, steps, reason)
    return True


def save_config(config: ExperimentConfig, notes: Iterable[str] = ()) -> str:
    """Return YAML text that loads back to the identical experiment, below `notes` as comments."""
    comments = "".join(f"# {note}\n" for note in notes)
    return comments + dump_yaml(config.model_dump(mode="json"))
