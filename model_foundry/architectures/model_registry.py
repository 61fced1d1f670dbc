"""`MODEL_REGISTRY`: the classes of the architectures by name, imported on first use.

It is a view of `config.ARCHITECTURES`, which has the same names and needs no torch.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from model_foundry.architectures.base_model import BaseModel
from model_foundry.config import ARCHITECTURES


class ModelRegistry(Mapping[str, type[BaseModel]]):
    """Model classes by architecture name; an unknown name raises `UnknownNameError`."""

    def __getitem__(self, name: str) -> type[BaseModel]:
        return cast(type[BaseModel], ARCHITECTURES.load(name))

    def __delitem__(self, name: str) -> None:
        ARCHITECTURES.remove(name)

    def pop(self, name: str) -> type[BaseModel]:
        """Remove an architecture and return its class."""
        cls = self[name]
        del self[name]
        return cls

    def __contains__(self, name: object) -> bool:
        return name in ARCHITECTURES

    def __iter__(self) -> Iterator[str]:
        return iter(ARCHITECTURES)

    def __len__(self) -> int:
        return len(ARCHITECTURES)


MODEL_REGISTRY = ModelRegistry()
