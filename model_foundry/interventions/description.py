"""Descriptions of steps for `foundry list interventions`."""

import inspect
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from model_foundry.interventions.registration import intervention

_LISTS: dict[Any, str] = {list: "list", tuple: "list", set: "list", frozenset: "list"}
_NAMES: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "true or false"}


def _kind(annotation: Any) -> str:
    """Return the kind of value that an experiment file holds for a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        said = [part.description for part in arguments if isinstance(part, FieldInfo)]
        return next(filter(None, said), None) or _kind(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(_kind(part) for part in arguments if part is not type(None))
    if (origin or annotation) in _LISTS:
        return _LISTS[origin or annotation]
    if (origin or annotation) is dict:
        return "mapping"
    return _NAMES.get(annotation, "text")


def _default(value: Any) -> str:
    words: dict[Any, str] = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)


def describe(name: str) -> str:
    """Return the first line of a step's docstring, and a line for each of its settings.

    Raises:
        UnknownNameError: nobody registered it.
    """
    step = intervention(name)
    said = inspect.getdoc(step.function) or ""
    lines = [re.split(r"\n\s*\n", said)[0].replace("\n", " ")]
    for key, setting in step.schema.model_fields.items():
        rest = "required" if setting.is_required() else f"default {_default(setting.default)}"
        kind = setting.description or _kind(setting.annotation)
        lines.append(f"  {key}: {kind} ({rest})")
    return "\n".join(lines)
