"""Overrides of the command line: `a.b=c` sets, `+a.b=c` adds, `~a.b` removes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.fields import field_at, holds_list, names_below
from model_foundry.config.layers import Layer
from model_foundry.config.origins import OVERRIDE
from model_foundry.config.yaml_reader import parse_yaml
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import one_line, short_repr
from model_foundry.registry import nearest

DEEPEST_KEY = 20  # parts of the path of an override
FOREIGN: Final[dict[str, str]] = {
    "++": "write key.key=value, which sets what is there and what is not",
    "@": "a group always goes to its own section; write model=NAME",
    "/": "keys are joined with dots: key.key=value",
}
"""What stands in overrides of Hydra, and what to write here."""


@dataclass(frozen=True)
class Override:
    """A change of an experiment file, as the command line gives it."""

    text: str
    """The argument as it was written."""
    action: Literal["set", "add", "remove"]
    keys: tuple[str, ...]
    """The path of its key."""
    value: Any = None
    """The value, read as YAML; None for one that removes."""

    @property
    def name(self) -> str:
        """The dotted key."""
        return ".".join(self.keys)

    def fault(self, law: str) -> ConfigError:
        """Return the error for an override that breaks a law."""
        return ConfigError(one_line(f"override {short_repr(self.text)}: {law}"))


def parse_override(text: str) -> Override:
    """Split an override into what it does, its path, and its value, which is read as YAML.

    Raises:
        ConfigError: it is no override, or the path has an empty part or too many.
    """
    path, equals, value = text.partition("=")
    path, action = path.strip(), {"+": "add", "~": "remove"}.get(text.strip()[:1], "set")
    keys = tuple(path.removeprefix("+" if action == "add" else "~").split("."))
    override = Override(text, action, keys)  # type: ignore[arg-type]
    if hint := next((FOREIGN[sign] for sign in FOREIGN if sign in path), None):
        raise override.fault(hint)
    if action == "remove" and equals:
        raise override.fault("takes no value; write ~key.key to remove a key")
    if not all(keys) or not (equals or action == "remove"):
        raise override.fault("must read key.key=value")
    if len(keys) > DEEPEST_KEY:
        raise override.fault(f"has {len(keys):,} parts; no key has more than {DEEPEST_KEY}")
    if action == "remove":
        return override
    found = parse_yaml(value, f"override {short_repr(text)}")
    return Override(text, override.action, keys, found)


def apply_override(layer: Layer, override: Override) -> None:
    """Change a layer as an override asks for.

    Raises:
        ConfigError: it leads through a single value, adds what is there, or removes what is not.
    """
    {"set": _set, "add": _add, "remove": _remove}[override.action](layer, override)


def _set(layer: Layer, override: Override) -> None:
    _mapping_of(layer, override)[override.keys[-1]] = override.value
    _mark(layer, override.name, override.value)


def _mark(layer: Layer, name: str, value: Any) -> None:
    layer.mark([name, *(f"{name}.{below}" for below in names_below(value))], OVERRIDE)


def _mapping_of(layer: Layer, override: Override) -> dict[str, Any]:
    """Return the mapping that holds the key of an override, making those on the way."""
    here = layer.data
    for depth, key in enumerate(override.keys[:-1], 1):
        below = here.get(key)
        if depth == 1 and below is not None:
            # one seed for all: what is given apart is set apart, and the others stay
            below = layer.seeds_apart(key) or below
        if below is None:
            below = here[key] = {}
        if not isinstance(below, dict):
            law = f"{'.'.join(override.keys[:depth])} is {_description(below)}"
            raise override.fault(law)
        here = below
    return here


def _description(value: Any) -> str:
    return f"{'a list' if isinstance(value, list) else f'the single value {short_repr(value)}'}"


def _add(layer: Layer, override: Override) -> None:
    here, key, value = _mapping_of(layer, override), override.keys[-1], override.value
    old = here.get(key)
    if isinstance(old, list):
        _append(layer, override, old)
    elif isinstance(old, dict) and isinstance(value, dict):
        for name, below in value.items():
            more = Override(override.text, "add", (*override.keys, name), below)
            _add(layer, more)
    elif old is not None:
        place = layer.place(override.name)
        law = f"{override.name} is there already ({place}): {short_repr(old)}"
        raise override.fault(f"{law}; write {override.name}=VALUE to change it")
    else:
        field = field_at(override.name, ExperimentConfig)
        is_entry = field is not None and holds_list(field) and not isinstance(value, list)
        here[key] = [value] if is_entry else value
        _mark(layer, override.name, here[key])


def _append(layer: Layer, override: Override, entries: list[Any]) -> None:
    value = override.value
    for entry in value if isinstance(value, list) else [value]:
        if entry in entries:
            raise override.fault(f"{short_repr(entry)} is in {override.name} already; leave it out")
        entries.append(entry)
        _mark(layer, f"{override.name}.{len(entries) - 1}", entry)


def _remove(layer: Layer, override: Override) -> None:
    here: Any = layer.data
    for depth, key in enumerate(override.keys):
        if not isinstance(here, dict):
            law = f"{'.'.join(override.keys[:depth])} is {_description(here)}"
            raise override.fault(f"{law}, which has no keys; set it as a whole")
        if key not in here:
            raise override.fault(_absent(override, depth, here))
        here = here[key]
    del _mapping_of(layer, override)[override.keys[-1]]
    layer.forget(override.name)


def _absent(override: Override, depth: int, here: Mapping[str, Any]) -> str:
    """Return the law and the remedy for a key to remove that is not there."""
    name, above = (".".join(override.keys[:end]) for end in (depth + 1, depth))
    if field_at(name, ExperimentConfig) is not None:
        return f"{name} is not given, so there is nothing to remove"
    if close := nearest(override.keys[depth], list(here)):
        return f"there is no {name}; did you mean {'.'.join(filter(None, (above, close)))!r}?"
    given = f"keys given here: {', '.join(here)}" if here else "nothing is given here"
    return f"there is no {name}; {given}"
