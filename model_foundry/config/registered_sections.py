"""Sections of registered things, each parsed by the schema that its spec brings."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from model_foundry.config.error_messages import describe, unknown_key, without_misspelt
from model_foundry.config.sections import Section, faults_error


class OpenSection(Section, extra="allow"):
    """A section that may also hold sections of registered things, under their names."""

    @classmethod
    def registered_sections(cls) -> dict[str, type[BaseModel]]:
        """Return the classes of the sections that it may hold, by name."""
        raise NotImplementedError

    def parse_sections(
        self, schema_of: Callable[[str], type[BaseModel] | None], pending: frozenset[str]
    ) -> None:
        """Parse the sections of registered things in place.

        Args:
            schema_of: the schema of the section with this name; None: there is no such section.
            pending: names that may be registered later; their sections stay as they are.

        Raises:
            PydanticCustomError: with all faults of all sections.
        """
        extra, faults = self.__pydantic_extra__ or {}, []
        for key, value in extra.items():
            schema = schema_of(key)
            if schema is not None:
                extra[key], found = parsed_section(value, schema)
                faults += [(f"{key}.{field}".rstrip("."), message) for field, message in found]
            elif key not in pending or not isinstance(value, dict):
                faults.append((key, "unknown key"))
        if faults:
            raise faults_error(*faults)


def parsed_section(value: Any, schema: type[BaseModel]) -> tuple[Any, list[tuple[str, str]]]:
    """Return the parsed section, and no faults; or the value as it was, and its faults."""
    try:
        section = schema.model_validate(value)
    except ValidationError as error:
        return value, without_misspelt([*describe(error, schema), *_unread(value, schema)])
    return section, _unread(value, schema)


def _unread(value: Any, schema: type[BaseModel]) -> list[tuple[str, str]]:
    """Return the faults of the keys that pydantic ignores, as is its own default."""
    ignores = schema.model_config.get("extra", "ignore") == "ignore"
    unread = value.keys() - schema.model_fields if ignores and isinstance(value, Mapping) else ()
    return [unknown_key("", key, schema) for key in sorted(unread)]


def required_fields(schema: type[BaseModel]) -> list[str]:
    """Return the names of the settings of a section that have no default."""
    return [name for name, field in schema.model_fields.items() if field.is_required()]


def defaults_of(schema: type[BaseModel]) -> BaseModel:
    """Return a section that was left out.

    Raises:
        PydanticCustomError: the section has settings without a default.
    """
    if required := required_fields(schema):
        raise PydanticCustomError(
            "section", "is required, with {names}", {"names": ", ".join(required)}
        )
    return schema()
