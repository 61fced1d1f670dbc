"""Remedies for values of a wrong type, which follow the message about them."""

import re
from collections.abc import Callable
from typing import Any, Final

from model_foundry.foundation.messages import LONGEST_VALUE, printable, short_repr

NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?")  # as YAML is read here
SPACED = re.compile(r"[0-9]{1,3}([_, ][0-9]{3})+")  # digits in groups
WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
MIXED = "; a list holds paths only; put other sources in {mixture: [{source: ...}, ...]}"
HOME = "; a ~ alone is null, the home directory is ~/"


def type_hint(kind: str, value: Any, location: tuple[int | str, ...]) -> str:
    """Return the remedy for a value of a wrong type; '' if none is known.

    Args:
        kind: pydantic's name of the fault, such as `int_type`.
        location: the path of the field, with the tags of unions.
    """
    if isinstance(value, dict) and "paths" in location[:-1]:
        return MIXED
    if kind in HINTS and (hint := HINTS[kind](value)):
        return hint
    if value is None and kind in {"string_type", "path_type"} and "path" in location:
        return HOME
    return ""


def _number(value: Any) -> str:
    is_quoted = isinstance(value, str) and NUMBER.fullmatch(value)
    return " (text); write it without quotes" if is_quoted else ""


def _integer(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}" if abs(value) < 2**63 else ""
    if isinstance(value, str) and SPACED.fullmatch(value):
        return f"; write {re.sub('[_,. ]', '', value)}"
    return _number(value)


def _text(value: Any) -> str:
    if isinstance(value, bool | int | float):
        text = short_repr(value)
        return f"; put it in quotes: '{text}' (on the command line: \"'{text}'\")"
    return "; put text that has a colon in quotes" if isinstance(value, dict) else ""


def _switch(value: Any) -> str:
    is_word = isinstance(value, str) and value.lower() in WORDS
    return f"; write {WORDS[value.lower()]}" if is_word else ""


def _list(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return f"; write [{printable(value)}]" if len(value) <= LONGEST_VALUE else "; write [...]"


def _section(value: Any) -> str:
    if value is None:
        return "; indent its settings below it"
    is_joined = isinstance(value, str) and ":" in value
    return "; a space is missing after the colon" if is_joined else ""


HINTS: Final[dict[str, Callable[[Any], str]]] = {
    "int_type": _integer,
    "float_type": _number,
    "string_type": _text,
    "bool_type": _switch,
    "list_type": _list,
    "model_type": _section,
    "model_attributes_type": _section,
}
"""The remedy for a value by the kind of the fault; '' for a value that it has none for."""
