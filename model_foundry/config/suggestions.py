"""Names and values of settings that complete what was typed of an override, `key=value`."""

import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.fields import fields_below
from model_foundry.config.json_schema import NAMED_IN, first_sentence
from model_foundry.config.schema_words import value_in_yaml
from model_foundry.config.setting_lines import kind_of

PATHS: Final = frozenset({"data.train", "data.validation", "data.test", "tokenizer.path"})
"""Settings that hold paths as text."""


def suggested_names(prefix: str) -> list[tuple[str, str]]:
    """Return the settings below the last dot of a prefix that complete it, with their meanings.

    Names end in `=`, those of sections in a dot. A section that is the only one is entered, so that
    there is always a choice while there can be one.
    """
    found = _names_at(prefix)
    while len(found) == 1 and found[0][0].endswith("."):
        found = _names_at(found[0][0])
    return found


def _names_at(prefix: str) -> list[tuple[str, str]]:
    depth = prefix.count(".") + 1
    found: dict[str, str] = {}
    for name, field in _fields().items():
        parts = name.split(".")
        is_section = len(parts) > depth
        shown = ".".join(parts[:depth]) + ("." if is_section else "=")
        if shown.startswith(prefix):
            meaning = "" if is_section else first_sentence(field.description or "")
            found.setdefault(shown, meaning)
    return sorted(found.items())


@cache
def _fields() -> dict[str, FieldInfo]:
    """Return the settings that are given one value, by dotted name."""
    fields = dict(fields_below(ExperimentConfig))
    return {name: field for name, field in fields.items() if kind_of(field.annotation) != "mapping"}


def suggested_values(name: str) -> list[str]:
    """Return the values to choose from, or the default of a setting; none if neither is known."""
    field = _fields().get(name)
    if field is None or name in PATHS:
        return []
    if name in NAMED_IN and kind_of(field.annotation) == "text":
        return [spec.name for spec in NAMED_IN[name].known()]
    if choices := list(_choices(field.annotation)):
        return list(dict.fromkeys(choices))
    default = None if field.is_required() else field.get_default()
    plain = isinstance(default, int | float | str)
    return [value_in_yaml(to_jsonable_python(default))] if plain else []


def takes_a_path(name: str) -> bool:
    """Return True for a setting that names a file or a directory."""
    field = _fields().get(name)
    return name in PATHS or (field is not None and kind_of(field.annotation) == "path")


def kind_of_setting(name: str) -> str:
    """Return the kind of value of a setting, in a word; '' if there is no such setting."""
    field = _fields().get(name)
    return "" if field is None else kind_of(field.annotation)


def _choices(annotation: Any) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is bool:
        yield from ("true", "false")
    elif origin is Literal:
        yield from map(value_in_yaml, arguments)
    elif origin is Annotated:
        yield from _choices(arguments[0])
    elif origin in (Union, types.UnionType):
        for part in arguments:
            yield from _choices(part)
