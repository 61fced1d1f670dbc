"""`HFLanguageModel`, the base class of language models made of HuggingFace classes."""

import copy
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.hf_model import HFModel, output_of
from model_foundry.architectures.kernels.chunked_cross_entropy import vocabulary_loss
from model_foundry.architectures.losses import labelled, language_model_loss
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.restored import evaluation_mode
from model_foundry.architectures.saving.hf_arguments import arguments_of, select_arguments
from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import ExperimentConfig
from model_foundry.foundation.labels import IGNORE_INDEX


class HFLanguageModel(HFModel, BaseLanguageModel):
    """A language model of transformers: its loss, its special tokens and its continuations."""

    knows_segments: ClassVar[bool] = False
    """True if the model uses `token_type_ids`."""

    @classmethod
    def from_config(
        cls, config: ExperimentConfig, *, vocab_size: int | None = None, **kwargs: Any
    ) -> Self:
        """Create a model with random weights.

        Args:
            config: the experiment; see `hf_fields`.
            vocab_size: rows of the embedding matrix; None: `config.tokenizer.vocab_size`.
            **kwargs: ids of special tokens, by role, and further fields of the configuration.
        """
        # named, since some configurations have other defaults than None
        ids = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None, **kwargs}
        size = vocab_size or config.tokenizer.vocab_size
        return cls.build(
            config, cls.hf_config_class(vocab_size=size, **cls.hf_fields(config), **ids)
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        document_ids: Tensor | None = None,
        *,
        return_logits: bool = True,
        **kwargs: Any,
    ) -> ModelOutput:
        """Compute logits (B, T, V) and, given labels (B, T), the loss; see `BaseLanguageModel`."""
        self._drop_empty_segments(kwargs)
        usual = self.call_arguments(input_ids, attention_mask, document_ids)
        arguments = {"input_ids": input_ids, "attention_mask": attention_mask} | usual | kwargs
        if "attention_mask" not in arguments_of(self.hf_model):  # such as xLSTM
            del arguments["attention_mask"]
        if labels is not None and not return_logits:
            return self._loss_alone(arguments, labels)
        outputs = self.hf_model(**select_arguments(self.hf_model, arguments))
        loss = language_model_loss(outputs.logits, labels, causal=self.is_causal)
        return output_of(outputs, loss=loss, logits=outputs.logits)

    def _drop_empty_segments(self, arguments: Record) -> None:
        """Remove `token_type_ids` of zeros from the arguments of a model without segments.

        Some tokenizers return them; GPT-2 would add the embedding of token 0 at each position.
        """
        if self.knows_segments and "token_type_ids" in arguments_of(self.hf_model):
            return
        segments = arguments.pop("token_type_ids", None)
        if segments is not None and segments.any():
            raise ValueError(
                f"token_type_ids: {self.model_type} knows no segments; leave them out."
            )

    def _loss_alone(self, arguments: Record, labels: Tensor) -> ModelOutput:
        """Compute the loss, projecting only labelled positions onto the vocabulary."""
        body = self.hf_model.base_model
        outputs = body(**select_arguments(body, arguments))
        hidden, targets = labelled(outputs.last_hidden_state, labels, causal=self.is_causal)
        head = self.hf_model.get_output_embeddings()
        total = vocabulary_loss(self.output_features(hidden), head, targets)
        loss = total / (targets != IGNORE_INDEX).sum().clamp(min=1)
        return output_of(outputs, loss=loss, logits=None)

    @property
    def computes_loss_alone(self) -> bool:
        """True if the class defines `output_features`."""
        return type(self).output_features is not HFLanguageModel.output_features

    def output_features(self, hidden: Tensor) -> Tensor:
        """Return the input of the output matrix, `hf_model.get_output_embeddings()`, (N, H).

        A class that defines it computes its loss without logits: they must be this matrix with its
        bias, applied to these features.

        Args:
            hidden: last hidden states of the body, `hf_model.base_model`, (N, H).
        """
        raise NotImplementedError(f"{type(self).__name__} has no output_features.")

    def call_arguments(
        self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> dict[str, Any]:
        """Return the default arguments of the wrapped model, besides ids and mask.

        Raises:
            ValueError: the model cannot keep documents apart.
        """
        if document_ids is not None:
            raise ValueError(
                f"{self.model_type} does not keep documents apart; leave document_ids out, or "
                "override call_arguments."
            )
        return self.fixed_arguments()

    def generate(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 20,
        **kwargs: Any,
    ) -> Tensor:
        """Continue rows of ids with transformers' `generate` and all its keywords.

        Raises:
            ConfigError: the model fills masks instead.
            ValueError: prompt and continuation together exceed the positions.
        """
        self.require_generation()
        length, positions = input_ids.shape[1], self.num_positions
        if positions is not None and length + max_new_tokens > positions:
            raise ValueError(
                f"a prompt of {length} tokens and max_new_tokens (={max_new_tokens}) exceed the "
                f"{positions} positions of this {self.model_type}; lower one."
            )
        if attention_mask is None:
            # transformers would guess one, and mistake a pad id within the text for padding
            attention_mask = torch.ones_like(input_ids)
        with evaluation_mode(self):
            given = {"attention_mask": attention_mask, "max_new_tokens": max_new_tokens, **kwargs}
            return cast(Tensor, self.hf_model.generate(input_ids=input_ids, **given))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a HuggingFace directory for the Auto classes."""
        super().save_pretrained(directory)
        self.save_generation_config(directory)

    def save_generation_config(self, directory: str | Path) -> None:
        """Write the defaults of transformers' `generate`, of a model that continues text."""
        if self.supports_generation:
            self._generation_config().save_pretrained(directory)

    def _generation_config(self) -> Any:
        """Return the defaults of transformers' `generate`: special tokens and maximum length.

        Without a maximum length, a text that exceeds the positions would fail within the model.
        """
        generation_config = copy.deepcopy(self.hf_model.generation_config)
        for role in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if getattr(generation_config, role) is None:
                setattr(generation_config, role, getattr(self.hf_model.config, role, None))
        if generation_config.pad_token_id is None:
            generation_config.pad_token_id = generation_config.eos_token_id
        generation_config.max_length = self.num_positions
        generation_config._from_model_config = False  # otherwise transformers rebuilds it
        return generation_config
