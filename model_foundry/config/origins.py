"""Origins of the values of an experiment: a line of its file, an override, a default, a program.

An origin is kept with the value that it explains, so that an assignment needs no record of its own:
a value that differs from the one that was loaded was set by a program.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model_foundry.config.fields import flat
from model_foundry.config.unexpanded import Environment

MISSING = object()


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The place where a value was given."""

    kind: Literal["file", "group", "override", "default", "program"]
    """A line of a file, that of a group (`model=NAME`), `key=value` after it, the default, or an
    assignment of a program."""
    file: str | None = None
    """Path of the file as it was given; None: it is no line of a file."""
    line: int = 0
    """Line of the key, from 1 on; 0: it is no line of a file."""
    column: int = 0
    """Column of the key, from 1 on; 0: it is no line of a file."""
    group: str | None = None
    """Group and file name, such as `model/lstm_medium.yaml`; None: it is of no group."""
    expression: str | None = None
    """Text with `${...}` that the value was made of; None: the value itself stands there."""

    def __str__(self) -> str:
        return self.kind if self.file is None else f"{self.file}:{self.line}"


OVERRIDE, DEFAULT, PROGRAM = (
    Origin(kind="override"),
    Origin(kind="default"),
    Origin(kind="program"),
)


@dataclass(frozen=True)
class Origins:
    """Origins of what was given, by dotted field. They do not make two experiments different."""

    given: Mapping[str, Origin] = field(default_factory=dict)
    """The origins of keys and of entries of lists."""
    loaded: Mapping[str, Any] = field(default_factory=dict)
    """The values that were loaded, as plain data by dotted field; empty: none were."""
    environment: Environment = field(default_factory=dict)
    """The values that came from the environment, by dotted name."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origins)

    __hash__ = None  # type: ignore[assignment]

    def place(self, key: str) -> Origin | None:
        """Return the origin of a key, else of one within it, else of the nearest section above it.

        None: there is none. An override makes the sections on its path, which have no origin.
        """
        while key and key not in self.given:
            within = (name for name in self.given if name.startswith(f"{key}."))
            key = next(within, key.rpartition(".")[0])
        return self.given.get(key) if key else None

    def of_values(self, values: Mapping[str, Any]) -> Iterator[tuple[str, Any, Origin]]:
        """Yield (dotted field, value, origin) for each of the values in force, as plain data."""
        for key, value in flat(values):
            as_loaded = self.loaded.get(key, MISSING) == value
            yield key, value, self.given.get(key, DEFAULT) if as_loaded else PROGRAM


def origins_of_file(
    places: Mapping[str, tuple[int, int]], path: str | Path, *, group: str | None = None
) -> Origins:
    """Return the origins of the keys of a file, given their lines and columns.

    Args:
        group: group and file name of a file of a group; None: it is none.
    """
    kind: Literal["file", "group"] = "file" if group is None else "group"
    return Origins(
        {
            key: Origin(kind=kind, file=str(path), line=line, column=column, group=group)
            for key, (line, column) in places.items()
        }
    )
