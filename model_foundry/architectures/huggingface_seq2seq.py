"""Any sequence-to-sequence model type that transformers builds from a configuration.

Language models are in `huggingface`.
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from model_foundry.architectures.base_model import device_of
from model_foundry.architectures.encoder_decoder import (
    HFEncoderDecoder,
    padded_by_end,
    require_one_vocabulary,
    start_of,
)
from model_foundry.architectures.hub_configuration import HEAD, SEQ2SEQ
from model_foundry.architectures.huggingface import TRIAL_LENGTH, HubModel
from model_foundry.architectures.model_type_laws import holds
from model_foundry.architectures.restored import evaluation_mode
from model_foundry.architectures.saving.native_format import KIND_KEY
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError


class HuggingFaceSeq2Seq(HubModel, HFEncoderDecoder):
    """An encoder-decoder of transformers, with one vocabulary for sources and targets."""

    heads = ("seq2seq",)

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        """Create a model with random weights.

        Args:
            config: the experiment; see `hf_fields`.
            **arguments: `vocab_size`, and ids of special tokens, by role.

        Raises:
            ConfigError: transformers has no such type or field, or cannot run it here, or the
                targets have a tokenizer of their own.
        """
        require_one_vocabulary(config)
        ids = padded_by_end(arguments)
        return super().from_config(config, **ids, decoder_start_token_id=start_of(ids))

    @classmethod
    def check_settings(cls, config: ExperimentConfig) -> None:
        """Require the model type, its fields, and one tokenizer.

        Raises:
            ConfigError: transformers has no such type or field, or the targets have a tokenizer of
                their own.
        """
        super().check_settings(config)
        require_one_vocabulary(config)

    @torch.no_grad()
    def try_out(self) -> None:
        """Run the model on a few tokens; on the meta device, where nothing is computed, not.

        Raises:
            ConfigError: the padding of a source changes an output.
        """
        if (device := device_of(self)).type == "meta":
            return
        length = min(TRIAL_LENGTH, self.num_positions or TRIAL_LENGTH)
        ids = torch.zeros(1, length, dtype=torch.long, device=device)
        ids += torch.arange(length, device=device) % self.vocabulary_size
        mask, other = torch.ones_like(ids), ids.clone()
        mask[:, -1] = other[:, -1] = 0
        with evaluation_mode(self):
            logits, others = (
                self(input_ids=each, attention_mask=mask, labels=ids).logits
                for each in (ids, other)
            )
        if not torch.allclose(logits, others, atol=1e-4):
            raise ConfigError(
                f"model.huggingface: {self.hf_config.model_type} reads the padding of its sources "
                "with these fields; use another type"
            )

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens."""
        return int(self.hf_config.vocab_size)

    def generate(self, input_ids: Tensor, **kwargs: Any) -> Tensor:
        """Write the target of each row; see `HFEncoderDecoder`.

        Where the cache of the type gives other tokens, or has not been measured, the whole target
        is read for each token.
        """
        cached = holds("cache", self.hf_config.model_type, getattr(self.hf_config, HEAD))
        return super().generate(input_ids, **{"use_cache": cached} | kwargs)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a HuggingFace directory for the Auto classes."""
        setattr(self.hf_model.config, KIND_KEY, SEQ2SEQ)
        super().save_pretrained(directory)
