"""Walks over the fields of sections and over the values of plain data, by dotted name."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def fields_below(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield (dotted name, field) of a section and those below it, registered ones included."""
    for name, field in fields_of(section).items():
        yield f"{prefix}{name}", field
        for nested in _sections_in(field.annotation):
            yield from fields_below(nested, f"{prefix}{name}.")


def sections_below(
    section: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (dotted place, class) of the sections below a section, registered ones included."""
    for name, field in fields_of(section).items():
        for nested in _sections_in(field.annotation):
            yield f"{prefix}{name}", nested
            yield from sections_below(nested, f"{prefix}{name}.")


def fields_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section by name, and the registered sections it may hold."""
    registered: dict[str, type[BaseModel]] = getattr(section, "registered_sections", dict)()
    extra = {name: FieldInfo.from_annotation(schema) for name, schema in registered.items()}
    return {**section.model_fields, **extra}


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _sections_in(part)]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted field, value) of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def names_below(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every key and entry in nested mappings and lists."""
    if not isinstance(value, dict | list):
        return
    for name, below in value.items() if isinstance(value, dict) else enumerate(value):
        yield f"{prefix}{name}"
        yield from names_below(below, f"{prefix}{name}.")
