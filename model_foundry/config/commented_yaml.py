"""Experiment files with a comment at each setting, for people to go on from."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_origin

from pydantic.fields import FieldInfo

from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.fields import fields_below
from model_foundry.config.interpolation import MUST_BE_GIVEN
from model_foundry.config.json_schema import first_sentence
from model_foundry.config.setting_lines import kind_of
from model_foundry.config.yaml_reader import dump_line

WIDTH: Final = 100
ON_ONE_LINE: Final = frozenset({"data.train", "data.validation", "data.test"})
"""Mappings that are one value to their readers."""


def commented(values: Mapping[str, Any], notes: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield the lines of an experiment file.

    Args:
        values: the settings as plain data.
        notes: lines of a comment above a setting, by its dotted name, in place of its meaning.
    """
    meanings = {name: _meaning(field) for name, field in fields_below(ExperimentConfig)}
    for number, (key, value) in enumerate(values.items()):
        if number and isinstance(value, dict):
            yield ""
        yield from _lines(key, value, meanings, notes)


def _lines(
    name: str, value: Any, meanings: Mapping[str, str], notes: Mapping[str, list[str]]
) -> Iterator[str]:
    """Yield the lines of a setting, or of a section with all below it."""
    key, indent = name.rpartition(".")[2], "  " * name.count(".")
    above = notes.get(name)
    yield from (f"{indent}# {line}".rstrip() for line in above or ())
    if isinstance(value, dict) and value and name not in ON_ONE_LINE:
        yield f"{indent}{key}:"
        for below, nested in value.items():
            yield from _lines(f"{name}.{below}", nested, meanings, notes)
        return
    line = (
        f"{indent}{key}: {value}" if value == MUST_BE_GIVEN else f"{indent}{dump_line(key, value)}"
    )
    meaning = meanings.get(name, "")
    if above is not None or not meaning:
        yield line
    elif len(line) + len(meaning) + 4 <= WIDTH:
        yield f"{line}  # {meaning}"
    else:
        yield f"{indent}# {meaning}"
        yield line


def _meaning(field: FieldInfo) -> str:
    """Return the first sentence of the description of a field, up to a semicolon, and choices."""
    meaning = first_sentence(field.description or "").partition("; ")[0].rstrip(".")
    choices = kind_of(field.annotation) if get_origin(field.annotation) is Literal else ""
    return f"{meaning}: {choices}" if choices and meaning else meaning
