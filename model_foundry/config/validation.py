"""Validation of plain data as an experiment: every fault, one per line, with its place."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from model_foundry.config.built_in import ARCHITECTURES, OBJECTIVES
from model_foundry.config.cross_checks import kinds_suit
from model_foundry.config.error_messages import describe, dotted
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.fields import field_at
from model_foundry.config.origins import Origins
from model_foundry.config.training import TrainingConfig
from model_foundry.config.unexpanded import hide_values
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import one_line, printable
from model_foundry.registry import UnknownNameError

SETTING = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*(?=:| \(=)")  # at the beginning of a message
MOST_FAULTS = 20  # lines of a message; the rest is counted
Fault = tuple[str, str]  # dotted field, message


def validate(
    raw: Mapping[str, Any], source: str, *, origins: Origins | None = None
) -> ExperimentConfig:
    """Turn plain data into an experiment.

    Args:
        source: its name in messages.
        origins: the origins of its values, which are kept with it; None: a program made them.

    Raises:
        ConfigError: with one line for every fault.
    """
    try:
        config = ExperimentConfig.model_validate(raw)
        ARCHITECTURES[config.model.architecture]
    except ValidationError as error:
        refused = refusal(_all_faults(raw, error), source, origins)
        # pydantic's own message would show what came from the environment
        raise refused from (None if origins and origins.environment else error)
    except UnknownNameError as error:
        raise refusal([("model.architecture", str(error))], source, origins) from error
    if origins is not None:
        config.keep_origins(origins)
    return config


def checked_again(config: ExperimentConfig) -> ExperimentConfig:
    """Return an experiment after all checks, which an assignment within a section leaves out.

    Raises:
        ConfigError: with one line for every fault.
    """
    again = validate(config.model_dump(exclude_unset=True), "config")
    again.keep_origins(config.origins)
    return again


def _all_faults(raw: Mapping[str, Any], error: ValidationError) -> Iterator[Fault]:
    """Yield the faults of the fields and, as far as possible, of the checks between them.

    The checks need valid sections. So invalid values are taken out and the rest is checked again;
    faults that mention a removed value are not reported.
    """
    found: ValidationError | None = error
    names: set[str] = set()
    yield from (wrong_kind := list(_wrong_kind(raw, error)))
    while found is not None:
        for field, message in describe(found, ExperimentConfig):
            follows = names and _follows(f"{field} {message}", names)
            if not follows and not (wrong_kind and field == "model"):
                yield field, message
        places = set(_places(found))
        names |= {place.rpartition(".")[2] for place in places}
        repaired = _without(raw, places)
        found = _first_error(repaired) if repaired != raw else None
        raw = repaired
    yield from _unknown_architecture(raw)


def _wrong_kind(raw: Mapping[str, Any], error: ValidationError) -> Iterator[Fault]:
    """Yield that the architecture is of another kind than the objective trains, where its section
    is refused, so that the checks between sections do not see it."""
    model, training = raw.get("model"), raw.get("training")
    if not (isinstance(model, dict) and isinstance(training, dict)):
        return
    if any(field == "model" for field, _ in describe(error, ExperimentConfig)):
        default = TrainingConfig.model_fields["objective"].default
        architecture, objective = model.get("architecture"), training.get("objective", default)
        if isinstance(architecture, str) and isinstance(objective, str):
            yield from kinds_suit(ARCHITECTURES.get(architecture), OBJECTIVES.get(objective))


def _places(error: ValidationError) -> Iterator[str]:
    """Yield the dotted fields to which the faults within the sections belong."""
    for fault in error.errors():
        if not fault["loc"]:  # of the checks between sections, which come last
            continue
        here = dotted(fault["loc"])
        below = fault.get("ctx", {}).get("faults", [("", "")])
        yield from (f"{here}.{field}".strip(".") for field, _ in below)


def _follows(fault: str, names: set[str]) -> bool:
    """Return True for a fault that taking out the values of `names` may have made."""
    said = fault.partition("; valid keys here")[0]
    return said.endswith("is required") or any(name in said for name in names)


def _first_error(raw: Any) -> ValidationError | None:
    try:
        ExperimentConfig.model_validate(raw)
    except ValidationError as error:
        return error
    return None


def _unknown_architecture(raw: Any) -> Iterator[Fault]:
    model = raw.get("model")
    name = model.get("architecture") if isinstance(model, dict) else None
    try:
        if isinstance(name, str):
            ARCHITECTURES[name]
    except UnknownNameError as unknown:
        yield "model.architecture", str(unknown)


def _without(value: Any, places: set[str], here: str = "") -> Any:
    """Return a copy of plain data that lacks the values at these dotted places.

    Entries of lists stay, since the places of those after them would change.
    """
    if isinstance(value, list):
        return [_without(entry, places, f"{here}{n}.") for n, entry in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {key: below for key, below in value.items() if f"{here}{key}" not in places}
    return {key: _without(below, places, f"{here}{key}.") for key, below in kept.items()}


def refusal(faults: Iterable[Fault], source: str, origins: Origins | None = None) -> ConfigError:
    """Return the error for these faults, a line each, with the places of their fields if known."""
    known = origins or Origins()
    hidden = ((field, hide_values(field, text, known.environment)) for field, text in faults)
    lines = [
        f"{_place_of(field, known) or f'{source}: '}{field}: {message}"
        for field, message in dict.fromkeys(hidden)
    ]
    if len(lines) > MOST_FAULTS:
        rest = len(lines) - MOST_FAULTS
        lines[MOST_FAULTS:] = [f"{source}: and {rest:,} more faults; correct these first"]
    return ConfigError("\n".join(map(one_line, lines)))


def _place_of(field: str, origins: Origins) -> str:
    """Return what stands before a field in a message: `FILE:LINE: ` or `override `; "": unknown."""
    place = origins.place(field)
    if place is None:
        return ""
    return "override " if place.kind == "override" else f"{place}: "


def located(message: str, origins: Origins) -> str:
    """Return a message about a loaded experiment with the places of the settings that it names.

    Each line may begin with a setting, or with text that is the value of one, such as a path.
    Values that came from the environment are hidden.
    """
    return "\n".join(_located_line(line, origins) for line in message.split("\n"))


def _located_line(line: str, origins: Origins) -> str:
    named = SETTING.match(line)
    field = named[0] if named else ""
    if not (field in origins.loaded or field_at(field, ExperimentConfig)):
        begins = (key for key, text in _texts(origins) if line.startswith(f"{text}: "))
        field = next(begins, "")
        line = f"{field}: {line}" if field else line
    place = _place_of(field, origins) if field else ""
    return place + hide_values(field, line, origins.environment)


def _texts(origins: Origins) -> Iterator[tuple[str, str]]:
    """Yield (dotted field, text) of all text that was given, as messages show it."""
    for key, value in origins.loaded.items():
        texts = value if isinstance(value, list) else [value]
        if key in origins.given:
            yield from ((key, printable(text)) for text in texts if isinstance(text, str))
