"""Messages for pydantic's errors, one line each: dotted field, rule, value, nearest valid key."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from model_foundry.config.fields import INDEX, fields_below
from model_foundry.config.other_tools import ABSENT, OURS, VALUES
from model_foundry.config.sections import RNNModelConfig, TransformerModelConfig
from model_foundry.config.sources import SOURCE_KINDS
from model_foundry.config.type_hints import type_hint
from model_foundry.foundation.messages import short_repr
from model_foundry.registry import Registry, nearest

REQUIRED = "is required"
MEANT = re.compile(r"unknown key; did you mean '([^']*)'\?")
EMPTY = {"string_too_short", "too_short"}
BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
TYPES = {
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "path_type": "a path",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
REMEDIES = {"nested_mixture": "; list its sources beside the others"}
SOURCE_FIELDS = ("train", "validation", "test", "source")
NO_SOURCE = "names no source; give a path, or a kind with its settings, such as {hub: owner/name}"
# Tags of unions, which pydantic puts below the fields of these names.
TAGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(SOURCE_FIELDS, SOURCE_KINDS),
    "seed": ("all", "each"),
}
# Keys that stood right below `model` before each architecture had a section of its own.
FLAT_MODEL_KEYS = {*TransformerModelConfig.model_fields, *RNNModelConfig.model_fields}


def describe(error: ValidationError, root: type[BaseModel]) -> list[tuple[str, str]]:
    """Return (dotted field, message) for every fault that pydantic found in a `root`."""
    return without_misspelt([p for fault in error.errors() for p in _describe_one(fault, root)])


def without_misspelt(faults: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return faults without those of required settings whose names another fault corrects."""
    meant = set()
    for field, message in faults:
        if found := MEANT.fullmatch(message):
            meant.add((_joined(field.rpartition(".")[0], found[1]), REQUIRED))
    return [fault for fault in faults if fault not in meant]


def _describe_one(fault: Mapping[str, Any], root: type[BaseModel]) -> Iterator[tuple[str, str]]:
    kind, field = fault["type"], dotted(fault["loc"])
    context = fault.get("ctx", {})
    if kind == "default_factory_not_called":
        return  # follows from the fault of another field, which has its own line
    if kind == "faults":
        for below, message in context["faults"]:
            if message == "unknown key":
                yield unknown_key(field, below, root)
            else:
                yield _joined(field, below), message
    elif kind == "missing" and fault["loc"][-2:] == ("hub", "hub") and not fault["input"]:
        yield dotted(fault["loc"][:-1]), NO_SOURCE  # an empty mapping is read as one of the hub
    elif kind == "extra_forbidden":
        *parent, key = fault["loc"]
        yield unknown_key(dotted(tuple(parent)), str(key), root)
    else:
        yield field, _message(kind, fault, context)


def dotted(location: tuple[int | str, ...]) -> str:
    """Return a location as it is written on the command line, without the tags of unions."""
    pairs = zip(("", *location), location, strict=False)
    return ".".join(str(part) for above, part in pairs if part not in TAGS.get(str(above), ()))


def _message(kind: str, fault: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    got = f"got {short_repr(fault['input'])}"
    if kind == "missing":
        return REQUIRED
    if kind in BOUNDS:
        key, sign = BOUNDS[kind]
        bound = context[key]
        return f"must be {sign} {bound if isinstance(bound, int) else f'{bound:g}'}, {got}"
    if kind in TYPES:
        return f"must be {TYPES[kind]}, {got}{type_hint(kind, fault['input'], fault['loc'])}"
    if kind == "literal_error":
        expected = context["expected"].replace(" or ", ", ")
        allowed = expected.replace("'", "").split(", ")
        ours = VALUES.get(str(fault["input"]).lower().replace("-", "_"))
        close = ours if ours in allowed else nearest(str(fault["input"]), allowed)
        hint = f"; did you mean {close!r}?" if close else ""
        return f"must be one of {expected}, {got}{hint}"
    if kind == "finite_number":
        return f"must be finite, {got}"
    if kind in EMPTY:
        return f"must not be empty, {got}"
    message = str(fault["msg"])
    if kind == "setting":  # which shows its value itself, a path at its full length
        return message
    return f"{message[0].lower()}{message[1:]}, {got}{REMEDIES.get(kind, '')}"


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def unknown_key(parent: str, key: str, root: type[BaseModel]) -> tuple[str, str]:
    """Return (dotted field, message) for a key that the section at `parent` does not have."""
    field = _joined(parent, key or "''")
    if parent.rpartition(".")[2] in SOURCE_FIELDS and key in _keys_at(parent, root):
        if key not in SOURCE_KINDS:
            return field, "is a setting of another kind of source; drop it"
        whole = f"{parent}={{{key}: ...}}"
        return field, f"a source has one kind, and another is given; write {whole} to replace it"
    return field, f"unknown key; {_remedy(parent, key, root)}"


def _remedy(parent: str, key: str, root: type[BaseModel]) -> str:
    if "." in key:
        return "dots join keys on the command line only; in a file, sections are nested"
    siblings = _keys_at(parent, root)
    if not INDEX.search(parent) and (known := _foreign(parent, key, root)):
        return known
    close = nearest(key.lower(), siblings)
    if close:
        return f"did you mean {close!r}?"
    if parent == "model" and key in FLAT_MODEL_KEYS:
        return (
            f"a flat model section is no longer read: move {key!r} into the section "
            "of the architecture, such as 'model.transformer' or 'model.rnn'"
        )
    elsewhere = [path for path in _all_keys(root) if path.rpartition(".")[2] == key]
    if elsewhere and not INDEX.search(parent):  # a key of an entry of a list has no other place
        return f"did you mean {elsewhere[0]!r}?"
    return f"valid keys here: {', '.join(siblings)}"


def _foreign(parent: str, key: str, root: type[BaseModel]) -> str | None:
    """Return the setting for a name of another program, or the reason why there is none."""
    plain = key.lower().replace("-", "_")
    if plain in ABSENT:
        return f"there is no such setting: {ABSENT[plain]}"
    if parent == "model" and key in FLAT_MODEL_KEYS:
        return None
    # a section that is read alone has the same names without that of the section
    meant = [name for ours in OURS.get(plain, ()) for name in (ours, ours.partition(".")[2])]
    known = [name for name in meant if name.partition(":")[0] in _all_keys(root)]
    # of two places that have such a setting, the one where it was given
    here = [name for name in known if name.partition(":")[0].rpartition(".")[0] == parent]
    names = [name.removeprefix(f"{parent}.") for name in here] or known
    if parent and names == ["seed"]:
        return "did you mean 'seed', at the top of the file?"
    return f"did you mean {' or '.join(map(repr, names))}?" if names else None


def _keys_at(path: str, root: type[BaseModel]) -> list[str]:
    """Return the keys of the section at a dotted path; none where it is not a section.

    All entries of a list have the same keys.
    """
    prefix = f"{INDEX.sub('', path)}." if path else ""
    below = [key.removeprefix(prefix) for key in _all_keys(root) if key.startswith(prefix)]
    return sorted({key.partition(".")[0] for key in below})


def _all_keys(root: type[BaseModel]) -> list[str]:
    return _keys_with(root, Registry.num_added)


@cache
def _keys_with(root: type[BaseModel], num_registered: int) -> list[str]:
    return [name for name, _ in fields_below(root)]
