"""Descriptions of steps for `foundry list interventions`."""

import inspect
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from model_foundry.foundation.messages import short_repr
from model_foundry.interventions.registration import intervention

_NAMES: dict[Any, str] = {
    **{str: "text", int: "integer", float: "number", bool: "true or false"},
    **{list: "list", tuple: "list", set: "list", frozenset: "list", dict: "mapping"},
}


def _kind(annotation: Any) -> str:
    """Return the kind of value that an annotation has in an experiment file."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        descriptions = [part.description for part in arguments if isinstance(part, FieldInfo)]
        return next(filter(None, descriptions), None) or _kind(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(_kind(part) for part in arguments if part is not type(None))
    return _NAMES.get(origin or annotation, "text")


def describe(name: str) -> str:
    """Return the first paragraph of a step's docstring, and a line for each of its settings.

    Raises:
        UnknownNameError: the name is not registered.
    """
    step = intervention(name)
    docstring = inspect.getdoc(step.function) or ""
    lines = [re.split(r"\n\s*\n", docstring)[0].replace("\n", " ")]
    for key, setting in step.schema.model_fields.items():
        rest = "required" if setting.is_required() else f"default {short_repr(setting.default)}"
        kind = setting.description or _kind(setting.annotation)
        lines.append(f"  {key}: {kind} ({rest})")
    return "\n".join(lines)
