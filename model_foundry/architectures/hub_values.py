"""Values of the fields of a transformers configuration: their types, and the library's refusals."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import HuggingFaceConfig
from model_foundry.config.error_messages import describe
from model_foundry.errors import ConfigError, is_out_of_memory
from model_foundry.foundation.messages import reason_of

PLAIN = {bool, float, int, str}


def plain_type(annotation: Any) -> Any:
    """Return the type of a field that holds one plain value or null; None: it holds others too."""
    if get_origin(annotation) is Literal:
        return annotation
    parts = set(get_args(annotation) or (annotation,))
    kinds = parts - {NoneType}
    if len(kinds) > 1 and kinds <= {float, int}:
        kinds = {float}  # an integer is a number
    if len(kinds) != 1 or not kinds <= PLAIN:
        return None
    (kind,) = kinds
    return kind | None if NoneType in parts else kind


def with_plain_types(hf_config_class: Any, given: Record, section: str) -> Record:
    """Return fields with whole numbers as floats where the class wants floats.

    Args:
        section: in which they are given.

    Raises:
        ConfigError: a field that holds one plain value has one of another type.
    """
    types = {field.name: plain_type(field.type) for field in fields(hf_config_class)}
    values = dict(given)
    for name, value in given.items():
        kind = types.get(hf_config_class.attribute_map.get(name, name))
        if kind is None:
            continue
        try:
            values[name] = TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            ((_, message),) = describe(error, BaseModel)
            raise ConfigError(f"{section}.{name}: {message}") from error
    return values


def reason_within(error: Exception) -> str:
    """Return the reason of an error of transformers, without the names of its validators."""
    return reason_of(error.__cause__ or error)


@contextmanager
def refusals(section: HuggingFaceConfig) -> Iterator[None]:
    """Raise a `ConfigError` for any error of transformers, which validates little."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        law = "cannot be built from these fields"
        if isinstance(error, ImportError):
            law = "needs a package or kernel that is not here"
        text = f"model.huggingface: {section.model_type} {law}: {reason_of(error)}"
        raise ConfigError(text) from error
