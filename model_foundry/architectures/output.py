"""`ModelOutput`, the result of a forward pass."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from torch.export import register_dataclass


@dataclass(eq=False)
class ModelOutput(Mapping[str, Any]):
    """The result of a forward pass; fields that were not requested are None.

    It is also a mapping and a sequence of the fields that are not None: `output.loss`,
    `output["loss"]` and `output[0]`. It derives from no class of transformers, whose outputs rename
    their fields between versions.
    """

    loss: Tensor | None = None
    """Mean over the valid labels; a scalar, of language models in nats."""
    logits: Tensor | None = None
    """(B, T, V) of language models; None under `return_logits=False`."""
    hidden_states: tuple[Tensor, ...] | None = None
    """Embeddings and the output of each layer, (B, T, H) each."""
    attentions: tuple[Tensor, ...] | None = None
    """Attention weights of each layer, (B, heads, T, T) each."""
    past_key_values: Any = None
    """Carried state: keys and values of a transformer, hidden state of a recurrent model."""

    def __post_init__(self) -> None:
        """Take the fields from a mapping: accelerate rebuilds mappings in this way."""
        if isinstance(self.loss, Mapping):
            given, self.loss = self.loss, None
            for name, value in given.items():
                if name not in _FIELDS:
                    raise TypeError(f"ModelOutput has no field {name!r}; it has {_FIELDS}.")
                setattr(self, name, value)

    def __getitem__(self, key: Any) -> Any:
        """Return a field by name, or fields that are not None by number or slice."""
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in _FIELDS and getattr(self, str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return (name for name in _FIELDS if getattr(self, name) is not None)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None."""
        return tuple(self.values())


_FIELDS = tuple(field.name for field in fields(ModelOutput))
# Sharded training (FSDP2) and torch.export find the tensors of an output through this.
register_dataclass(ModelOutput, serialized_type_name="model_foundry.ModelOutput")
