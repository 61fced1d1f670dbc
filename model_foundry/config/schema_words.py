"""The kind of value that a JSON schema describes, in words for a page of Markdown."""

import json
from collections.abc import Mapping
from typing import Any, Final

from model_foundry.config.plain_schema import EXPRESSION, EXPRESSIONS, Schema

TYPES: Final = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "array": "list",
    "object": "mapping",
}
LARGEST = 2**31 - 1  # a bound from here on means no more than that there is one
PLUGINS = "a plugin's"
"""Stands for the names that are not known here, where any text is allowed beside a choice."""


def kind_in_words(schema: Schema, links: Mapping[str, str]) -> str:
    """Return the kind of value.

    Args:
        links: the links to the definitions of sections, by their names.
    """
    return ", ".join(dict.fromkeys(_kinds(schema, links)))


def _kinds(schema: Schema, links: Mapping[str, str]) -> list[str]:
    if "anyOf" in schema:
        parts = schema["anyOf"]
        choices = any("enum" in part for part in parts)
        found = [
            PLUGINS if choices and part == {"type": "string"} else kind_in_words(part, links)
            for part in parts
        ]
        return [kind for kind in found if kind]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return [] if name == EXPRESSIONS else [links[name]]
    if "enum" in schema:
        return [f"`{value_in_yaml(value)}`" for value in schema["enum"]]
    return [_of_type(name, schema, links) for name in _types(schema)]


def _types(schema: Schema) -> list[str]:
    """Return the types of a value, without text where that can be an expression only."""
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    return [t for t in types if t != "string" or schema.get("pattern") != EXPRESSION]


def _of_type(name: str, schema: Schema, links: Mapping[str, str]) -> str:
    if name in ("integer", "number"):
        return f"{name}{_bounds(schema)}"
    if name == "array" and (entries := kind_in_words(schema.get("items", {}), links)):
        return f"list of: {entries}"
    if name == "object" and isinstance(schema.get("additionalProperties"), dict):
        values = kind_in_words(schema["additionalProperties"], links)
        return f"mapping to: {values}" if values else TYPES[name]
    if name == "object" and len(keys := list(schema.get("properties", ()))) == 1:
        return f"`{{{keys[0]}: ...}}`"
    return TYPES[name]


def _bounds(schema: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [(sign, schema[key]) for key, sign in signs.items() if key in schema]
    shown = [f"{sign} {bound:,}" for sign, bound in found if bound < LARGEST]
    return f" {' and '.join(shown)}" if shown else ""


def value_in_yaml(value: Any) -> str:
    """Return plain data as a short YAML value."""
    return value if isinstance(value, str) and value else json.dumps(value)
