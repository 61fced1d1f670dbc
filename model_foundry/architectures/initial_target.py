"""The model that gets the weights of a directory, `model.init_from`."""

from collections.abc import Collection
from itertools import chain
from typing import Any, Final

from torch import Tensor, nn

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import BaseModel
from model_foundry.architectures.hf_model import HFModel
from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.saving.native_format import ARGUMENTS, KIND_KEY, Record
from model_foundry.config import ARCHITECTURES

OWN: Final = TransformerConfig.model_type


class Target:
    """The model that gets the weights, apart by body and head.

    Args:
        added_tokens: the last of its vocabulary, which that of the directory lacks.
    """

    def __init__(self, model: BaseModel, added_tokens: int = 0) -> None:
        self.model = model
        self.added_tokens = added_tokens
        self.network: nn.Module = model.hf_model if isinstance(model, HFModel) else model
        state = self.network.state_dict()
        named = chain(
            self.network.named_parameters(remove_duplicate=False), self.network.named_buffers()
        )
        self.tensors = {name: tensor for name, tensor in named if name in state}
        self.prefix = self._prefix()
        self.body = {
            name.removeprefix(self.prefix) for name in state if name.startswith(self.prefix)
        }

    def _prefix(self) -> str:
        """Return the beginning of the names of the body's tensors."""
        body = self.model.base_model
        name = next(name for name, module in self.network.named_modules() if module is body)
        return f"{name}." if name else ""

    @property
    def fields(self) -> Any:
        """The configuration of the body; None: it is no model of transformers."""
        return self.model.hf_model.base_model.config if isinstance(self.model, HFModel) else None

    @property
    def section(self) -> str | None:
        """The section of the settings of its architecture."""
        return ARCHITECTURES[self.model.model_type].section

    @property
    def is_native(self) -> bool:
        """True if the body is made of this package's own blocks."""
        return getattr(self.fields, "model_type", None) == OWN

    @property
    def vocabulary(self) -> int | None:
        """The identity of the embedding matrix; None: there is none."""
        if not isinstance(self.model, HFModel) or not hasattr(self.fields, "vocab_size"):
            return None
        return id(self.model.hf_model.get_input_embeddings().weight)

    def are_positions(self, name: str) -> bool:
        """Return whether a tensor is the matrix of learned positions."""
        known = getattr(self.fields, "max_position_embeddings", None)
        return ("pos" in name or "wpe" in name) and self.tensors[name].dim() == 2 and bool(known)

    def output(self, tensors: Collection[str]) -> tuple[str, str] | None:
        """Return the names of an output matrix that a directory lacks, and of its embeddings.

        None: there is no such matrix, it is the embedding matrix itself, or the directory has it.

        Args:
            tensors: names of those of the directory.
        """
        network: Any = self.network
        head = network.get_output_embeddings() if self.vocabulary else None
        if head is None or id(head.weight) == self.vocabulary:
            return None
        name = next(name for name, own in self.tensors.items() if own is head.weight)
        named = [n for n, own in self.tensors.items() if id(own) == self.vocabulary]
        embeddings = next((each for each in named if each in tensors), None)
        return None if embeddings is None or name in tensors else (name, embeddings)

    def has_added_rows(self, own: Tensor, saved: Tensor) -> bool:
        """Return whether a tensor has a row for each token, and a saved one for each but the added.

        Args:
            own, saved: (V, ...) each.
        """
        if not (self.added_tokens and self.vocabulary and own.dim() and own.dim() == saved.dim()):
            return False
        network: Any = self.network
        size = len(network.get_input_embeddings().weight)
        return (len(own), len(saved)) == (size, size - self.added_tokens) and (
            own.shape[1:] == saved.shape[1:]
        )

    def has_head_of(self, record: Record) -> bool:
        """Return whether the head of a directory is of the same kind, with the same labels."""
        if not isinstance(self.model, HFModel):
            own = self.model.build_record or {}
            return all(own.get(key) == record.get(key) for key in ("kind", ARGUMENTS))
        fields: Any = self.model.hf_config
        # a kind that the architecture gives without a head of others may be named, or not
        without = ARCHITECTURES[self.model.model_type].kinds
        kinds = (getattr(fields, KIND_KEY, None), record.get(KIND_KEY))
        if len({None if kind in without else kind for kind in kinds}) > 1:
            return False
        named = None if isinstance(self.model, BaseLanguageModel) else record.get("id2label")
        return named is None or named == {str(n): label for n, label in fields.id2label.items()}
