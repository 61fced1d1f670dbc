"""`MODEL_REGISTRY`: the classes of the architectures by name, imported when first asked for.

The specs, which need no torch, stand in `config.ARCHITECTURES`; the same names are in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from model_foundry.config import ARCHITECTURES
from model_foundry.registry import load_target

if TYPE_CHECKING:
    from model_foundry.architectures.base import BaseLanguageModel


class ModelRegistry(Mapping[str, "type[BaseLanguageModel]"]):
    """Model classes by architecture name; an unknown name raises `UnknownNameError`."""

    def __init__(self) -> None:
        self._classes: dict[str, type[BaseLanguageModel]] = {}

    def keep(self, name: str, cls: type[BaseLanguageModel]) -> None:
        """Remember the class of a registered name, which need not be importable by its target."""
        self._classes[name] = cls

    def pop(self, name: str) -> type[BaseLanguageModel]:
        """Take an architecture out, here and in `ARCHITECTURES`, and return its class."""
        cls = self[name]
        ARCHITECTURES.remove(name)
        del self._classes[name]
        return cls

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __getitem__(self, name: str) -> type[BaseLanguageModel]:
        spec = ARCHITECTURES[name]  # may import the module that registers it
        if name not in self._classes:
            self._classes[name] = load_target(spec.target)
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in ARCHITECTURES

    def __iter__(self) -> Iterator[str]:
        return iter(ARCHITECTURES)

    def __len__(self) -> int:
        return len(ARCHITECTURES)


MODEL_REGISTRY = ModelRegistry()
