"""JSON schemas of pydantic in a plain form, which editors explain well.

Types stand in one list instead of in alternatives, and each value may also be an expression: a
`${...}` or `???` that is replaced when files are composed.
"""

import re
from typing import Any, Final

Schema = dict[str, Any]

EXPRESSION: Final = r"^\?\?\?$|\$\{"
EXPRESSIONS: Final = "expression"
"""Name of the definition of an expression."""
EXPRESSION_SCHEMA: Final[Schema] = {
    "type": "string",
    "pattern": EXPRESSION,
    "description": "`${...}` of another setting or of the environment, or `???`: not given here.",
}
DROPPED = frozenset({"title", "discriminator", "required", "format"})
"""Keywords without a use here; an experiment may be given in parts, so that nothing is required."""
OF_TYPES = frozenset(
    {
        *("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("items", "minItems", "maxItems"),
    }
)
"""Keywords that concern values of their own type only, so that types may share a list."""
ORDER = ("$schema", "title", "description", "type", "enum", "anyOf", "$ref")
"""Keywords that come first, in this order."""
NONE = re.compile(r"\bNone\b")  # of Python; in YAML it is null


def plain(schema: Any) -> Any:
    """Return a schema of pydantic in plain form, with the schemas in it; other data as it is."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in DROPPED}
    if "oneOf" in kept:
        kept["anyOf"] = kept.pop("oneOf")
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    for key in ("items", "additionalProperties", "anyOf", "allOf"):
        if key in kept:
            kept[key] = plain(kept[key])
    if "properties" in kept:
        kept["properties"] = {name: plain(below) for name, below in kept["properties"].items()}
    if "description" in kept:
        kept["description"] = NONE.sub("null", " ".join(kept["description"].split()))
    return _with_types_in_one_list(kept)


def in_order(schema: Any) -> Any:
    """Return a schema whose keywords have an order that people read well."""
    if isinstance(schema, list):
        return [in_order(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    first = [key for key in ORDER if key in schema]
    return {key: in_order(schema[key]) for key in dict.fromkeys((*first, *schema))}


def _with_types_in_one_list(schema: Schema) -> Schema:
    """Return alternatives that differ by their type only as one schema with several types."""
    parts: list[Schema] = schema.get("anyOf", [])
    types = [part.get("type") for part in parts]
    if not parts or len(set(map(str, types))) < len(types):
        return schema
    if any(part.keys() - OF_TYPES or not isinstance(part.get("type"), str) for part in parts):
        return schema
    if {"integer", "number"} <= set(types):  # which share their bounds
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    merged = {key: value for part in parts for key, value in part.items()}
    return {**merged, **rest, "type": types}


def with_expressions(schema: Schema) -> Schema:
    """Return the schema of a section, each value of which may also be an expression."""
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {
            k: _or_expression(_or_nothing(v)) for k, v in found["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _or_expression(found[key])
    if "anyOf" in found:
        found["anyOf"] = [with_expressions(part) for part in found["anyOf"]]
    return found


def _or_expression(schema: Schema) -> Schema:
    """Return the schema of a value, or of an expression in its place."""
    schema = with_expressions(schema)
    if _takes_any_text(schema):
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"$ref": f"#/$defs/{EXPRESSIONS}"}]}
    types = _types(schema)
    if types and "enum" not in schema and "string" not in types:
        return {**schema, "type": [*types, "string"], "pattern": EXPRESSION}
    about = {key: value for key, value in schema.items() if key in ("description", "default")}
    own = {key: value for key, value in schema.items() if key not in about}
    return {**about, "anyOf": [own, {"$ref": f"#/$defs/{EXPRESSIONS}"}]}


def _or_nothing(schema: Schema) -> Schema:
    """Return the schema of a mapping, or of the null that removes it from an extended file."""
    if schema.get("type") == "object":
        return {**schema, "type": ["object", "null"]}
    if "$ref" not in schema:
        return schema
    about = {key: schema[key] for key in schema if key != "$ref"}
    return {**about, "anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}]}


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return types if isinstance(types, list) else [types]


def _takes_any_text(schema: Schema) -> bool:
    if any(map(_takes_any_text, schema.get("anyOf", ()))):
        return True
    if not schema.keys() & {"type", "enum", "anyOf", "$ref"}:
        return True
    return "string" in _types(schema) and not schema.keys() & {"enum", "pattern", "maxLength"}
