"""Layers of plain data: what a file, a group or an override gives, laid over what was there."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from model_foundry.config.built_in import SOURCES
from model_foundry.config.experiment import SET_BY_ONE_SEED
from model_foundry.config.expressions import OPEN
from model_foundry.config.fields import is_within
from model_foundry.config.origins import Origin, Origins

SPLITS = ("data.train", "data.validation", "data.test")


@dataclass
class Layer:
    """Plain data, and the origin of each of its keys and entries by dotted name."""

    data: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Origin] = field(default_factory=dict)

    @property
    def origins(self) -> Origins:
        """The origins, as an experiment keeps them."""
        return Origins(dict(self.given))

    def place(self, name: str) -> Origin | None:
        """Return the origin of a key, as `Origins.place` does."""
        return Origins(self.given).place(name)

    def lay_over(self, above: "Layer") -> None:
        """Merge a later layer into this one.

        Mappings merge key by key; all else is replaced. A null removes a mapping, and stays null
        where there is none. A source of text of another kind replaces the one before.
        """
        self._merge(self.data, above.data, "", above.given)

    def _merge(
        self, below: dict[str, Any], above: Mapping[str, Any], prefix: str, given: dict[str, Origin]
    ) -> None:
        for key, value in above.items():
            name, old = f"{prefix}{key}", below.get(key)
            if isinstance(old, dict) and value is None:
                del below[key]
                self.forget(name)
                continue
            if isinstance(value, dict) and (apart := self.seeds_apart(name)) is not None:
                old = apart
            if isinstance(old, dict) and isinstance(value, dict) and _same_kind(name, old, value):
                if name in given:
                    self.given[name] = given[name]
                self._merge(old, value, f"{name}.", given)
            else:
                below[key] = deepcopy(value)
                self.forget(name)
                self.given |= {k: v for k, v in given.items() if is_within(k, name)}

    def seeds_apart(self, name: str) -> dict[str, int | str] | None:
        """Make one seed for all, or its expression, one of each, so that one of them can be set.

        None: the key is not that of the seed, or the seed is not one for all.
        """
        one: Any = self.data.get("seed")
        is_one = type(one) is int or (isinstance(one, str) and OPEN in one)
        if name != "seed" or not is_one:
            return None
        apart: dict[str, int | str] = dict.fromkeys(SET_BY_ONE_SEED, one)
        self.data["seed"] = apart
        self.given |= {f"seed.{each}": self.given["seed"] for each in apart if "seed" in self.given}
        return apart

    def forget(self, name: str) -> None:
        """Drop the origins of a key and of all below it."""
        self.given = {k: v for k, v in self.given.items() if not is_within(k, name)}

    def mark(self, names: Iterable[str], origin: Origin) -> None:
        """Set the origin of keys, in place of those of all below them."""
        for name in names:
            self.forget(name)
            self.given[name] = origin


def _same_kind(name: str, below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    """Return False for two sources of text of different kinds, such as `hub` and `language`."""
    if name not in SPLITS:
        return True
    kinds = {*SOURCES, "mixture"} - {"files"}
    named = [next((key for key in each if key in kinds), None) for each in (below, above)]
    return named[1] is None or named[0] == named[1]
