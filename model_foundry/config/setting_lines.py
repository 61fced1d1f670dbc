"""Settings in a line each: name, kind of value, and default."""

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from model_foundry.foundation.messages import short_repr

_NAMES: dict[Any, str] = {
    **{str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"},
    **{list: "list", tuple: "list", set: "list", frozenset: "list", dict: "mapping"},
}


def setting_line(name: str, field: FieldInfo, kind: str | None = None) -> str:
    """Return `name: kind (default)`.

    Args:
        kind: the kind of value; None: that of the field's type.
    """
    return f"{name}: {kind or kind_of(field.annotation)} ({_default(field)})"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory_takes_validated_data:  # it depends on other settings
        return "optional"
    default = field.get_default(call_default_factory=True)
    return "optional" if isinstance(default, BaseModel) else f"default {short_repr(default)}"


def kind_of(annotation: Any) -> str:
    """Return the kind of value that an annotation has in an experiment file."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        descriptions = [part.description for part in arguments if isinstance(part, FieldInfo)]
        return next(filter(None, descriptions), None) or kind_of(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        parts = [kind_of(part) for part in arguments if part is not type(None)]
        return " | ".join(dict.fromkeys(parts))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _NAMES.get(origin or annotation, "text")
