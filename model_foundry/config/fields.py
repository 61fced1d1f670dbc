"""Walks over the fields of sections and over the values of plain data, by dotted name."""

import re
import types
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

INDEX = re.compile(r"\.[0-9]+(?=\.|$)")  # of an entry of a list, in a dotted path


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


def field_at(name: str, root: type[BaseModel]) -> FieldInfo | None:
    """Return the field at a dotted name, that of the list for one of its entries; None: none."""
    plain = INDEX.sub("", name)
    return next((field for known, field in fields_below(root) if known == plain), None)


def is_within(name: str, outer: str) -> bool:
    """Return True for a dotted name, and for each one below it."""
    return name == outer or name.startswith(f"{outer}.")


def holds_list(field: FieldInfo) -> bool:
    """Return True for a field that may hold a list or null, and nothing else."""
    kinds = [get_origin(each) or each for each in _alternatives(field.annotation)]
    return set(kinds) - {NoneType} == {list}


def scalars_at(name: str, root: type[BaseModel]) -> set[type]:
    """Return the types of the scalars that may stand at a dotted name; none are known: empty."""
    field = field_at(name, root)
    above = name.rpartition(".")[0]
    if field is not None:
        return set(_scalars(field.annotation))
    # a key of a mapping whose keys are free; a section has fields of its own
    outer = field_at(above, root) if above else None
    kinds = {get_origin(each) for each in _alternatives(outer.annotation)} if outer else set()
    return set(_scalars(outer.annotation)) if outer and dict in kinds else set()


def _scalars(annotation: Any) -> Iterator[type]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from map(type, arguments)
    elif origin is dict:
        yield from _scalars(arguments[1])
    elif origin is Annotated:
        yield from _scalars(arguments[0])
    elif arguments:
        for part in arguments:
            yield from _scalars(part)
    elif isinstance(annotation, type) and not issubclass(annotation, BaseModel):
        yield annotation


def _alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union, and of those within it."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [each for part in get_args(annotation) for each in _alternatives(part)]
    return [annotation]


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


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of each single value and empty container in plain data."""
    if not isinstance(value, dict | list) or not value:
        yield prefix.removesuffix("."), value
        return
    for name, below in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(below, f"{prefix}{name}.")


def names_below(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every key and entry in nested mappings and lists."""
    if not isinstance(value, dict | list):
        return
    for name, below in value.items() if isinstance(value, dict) else enumerate(value):
        yield f"{prefix}{name}"
        yield from names_below(below, f"{prefix}{name}.")
