"""The final file of an experiment, with the origin of each value beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.expressions import escape
from model_foundry.config.fields import leaves
from model_foundry.config.origins import DEFAULT, PROGRAM, Origin
from model_foundry.config.shipped import shipped_configs
from model_foundry.config.yaml_reader import dump_line, dump_scalar
from model_foundry.foundation.messages import printable

WIDEST_COLUMN = 50  # of the comments; the rest of 100 columns holds most of them
LONGEST_LIST = 40  # characters of a list on one line
Line = tuple[str, Origin | None]
"""Text of a line, and the origin of its value; None: it is the key of a section."""


def resolved_lines(config: ExperimentConfig) -> Iterator[str]:
    """Yield the lines of a YAML file that loads back to the identical experiment.

    Each value has a comment: `file:line`, `group model/NAME.yaml:line`, `override`, `default`, or
    `program`, after the expression that it was made of.
    """
    lines = _Writer(config).mapping(config.recorded(literal=escape), "")
    widths = [len(text) for text, origin in lines if origin is not None]
    column = min(max(widths, default=0), WIDEST_COLUMN)
    for text, origin in lines:
        yield text if origin is None else f"{text:{column}}  # {printable(_note(origin))}"


def place_of(origin: Origin) -> str:
    """Return the place of an origin as it is shown beside a value."""
    if origin.group is not None:
        return f"group {origin.group}:{origin.line}"
    if origin.file is not None and Path(origin.file).is_relative_to(shipped_configs()):
        return f"shipped {Path(origin.file).relative_to(shipped_configs())}:{origin.line}"
    return str(origin)


def _note(origin: Origin) -> str:
    place = place_of(origin)
    return place if origin.expression is None else f"{origin.expression}, {place}"


class _Writer:
    """The lines of one experiment."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.origins = config.origins
        self.values = dict(leaves(config.model_dump(mode="json")))
        self.loaded = dict(leaves(config.origins.loaded))
        given = leaves(config.model_dump(mode="json", exclude_unset=True))
        self.given = {*config.origins.given, *(name for name, _ in given)}

    def origin(self, name: str) -> Origin:
        """Return the origin of a single value, or of an empty mapping or list."""
        if name not in self.loaded or self.loaded[name] != self.values[name]:
            return PROGRAM
        return (self.origins.place(name) or DEFAULT) if name in self.given else DEFAULT

    def mapping(self, values: dict[str, Any], name: str) -> list[Line]:
        """Return the lines of a mapping."""
        lines: list[Line] = []
        for key, value in values.items():
            within = f"{name}.{key}" if name else key
            if not isinstance(value, dict | list) or not value:
                lines.append((dump_line(key, value), self.origin(within)))
            elif isinstance(value, dict):
                lines.append((f"{dump_scalar(key)}:", None))
                lines += _indented(self.mapping(value, within))
            elif line := self.short_list(key, value, within):
                lines.append(line)
            else:
                lines.append((f"{dump_scalar(key)}:", None))
                lines += self.entries(value, within)
        return lines

    def short_list(self, key: str, entries: list[Any], name: str) -> Line | None:
        """Return a list of single values on one line; None: it is long, or of several origins."""
        text = dump_line(key, entries)
        if len(text) > LONGEST_LIST or any(isinstance(each, dict | list) for each in entries):
            return None
        origins = [self.origin(f"{name}.{number}") for number in range(len(entries))]
        places = {(each.kind, each.file, each.line, each.expression) for each in origins}
        return (text, origins[0]) if len(places) == 1 else None

    def entries(self, entries: list[Any], name: str) -> list[Line]:
        """Return the lines of a list, one entry after the other."""
        lines: list[Line] = []
        for number, entry in enumerate(entries):
            within = f"{name}.{number}"
            if isinstance(entry, dict) and entry:
                below = self.mapping(entry, within)
            elif isinstance(entry, list) and entry:
                below = self.entries(entry, within)
            else:
                text = dump_line("key", entry).removeprefix("key: ")
                below = [(text, self.origin(within))]
            (first, origin), *rest = below
            lines += [(f"- {first}", origin), *_indented(rest)]
        return lines


def _indented(lines: list[Line]) -> list[Line]:
    return [(f"  {text}", origin) for text, origin in lines]
