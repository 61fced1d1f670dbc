"""What the architectures made of HuggingFace classes share: calling, saving, loading, generating.

Their directories are plain HuggingFace directories; `config.json` also names the architecture.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.utils import logging

from model_foundry.architectures.attention import choose_attention
from model_foundry.architectures.base import BaseLanguageModel, ModelOutput
from model_foundry.architectures.decoding import evaluation_mode
from model_foundry.architectures.losses import language_model_loss
from model_foundry.architectures.plain_directory import ARCHITECTURE_KEY
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing into the progress of a run."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class TransformersBacked(BaseLanguageModel):
    """A HuggingFace model behind the interface of this package.

    Args:
        hf_model: a language model with random or trained weights.
        hf_config: its configuration.
    """

    hf_config_class: ClassVar[Any]
    """The transformers configuration class."""

    def __init__(self, hf_model: Any, hf_config: Any) -> None:
        super().__init__()
        self.hf_model = hf_model
        self.hf_config = hf_config

    @classmethod
    @abstractmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return the transformers model class for a configuration."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """Compute logits (B, T, V) and, given labels (B, T), the loss; see `BaseLanguageModel`."""
        usual = self.call_arguments(input_ids, attention_mask)
        outputs = self.hf_model(
            input_ids=input_ids, attention_mask=attention_mask, **(usual | kwargs)
        )
        return ModelOutput(
            loss=language_model_loss(outputs.logits, labels, causal=self.is_causal),
            logits=outputs.logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            past_key_values=outputs.get("past_key_values"),
        )

    def call_arguments(self, input_ids: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
        """Return what the wrapped model is told besides ids and mask, by default."""
        return {"use_cache": False}

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embeddings."""
        return cast(nn.Module, self.hf_model.get_input_embeddings())

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        """Change the vocabulary size; new rows are random, tied matrices stay tied."""
        resized = self.hf_model.resize_token_embeddings(new_num_tokens, mean_resizing=False)
        return cast(nn.Module, resized)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute the activations of each layer in the backward pass instead of keeping them."""
        model = self.hf_model
        # transformers renamed it within version 5
        enable = getattr(
            model, "activation_checkpointing_enable", model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})

    def generate(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 20,
        **kwargs: Any,
    ) -> Tensor:
        """Continue rows of ids with transformers' `generate`, whose keywords all apply."""
        self.require_generation()
        if attention_mask is None:
            # transformers would guess one, and take a pad id within the text for padding
            attention_mask = torch.ones_like(input_ids)
        with evaluation_mode(self):
            rows = self.hf_model.generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                max_new_tokens=max_new_tokens,
                **kwargs,
            )
        return cast(Tensor, rows)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a HuggingFace directory that the Auto classes load."""
        setattr(self.hf_model.config, ARCHITECTURE_KEY, self.model_type)
        with _without_progress_bars():
            self.hf_model.save_pretrained(directory)

    @classmethod
    def load_directory(cls, directory: Path, **kwargs: Any) -> Self:
        """Load a HuggingFace directory.

        Args:
            directory: it has a `config.json` and safetensors.
            **kwargs: of transformers' `from_pretrained`, such as `attn_implementation`.

        Raises:
            ConfigError: the weights are missing or damaged, or not those of the model.
        """
        try:
            hf_config = cls.hf_config_class.from_pretrained(directory, local_files_only=True)
            with _without_progress_bars():
                hf_model, report = cls.hf_class(hf_config).from_pretrained(
                    directory,
                    config=hf_config,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    output_loading_info=True,
                    **kwargs,
                )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{directory}: the model cannot be loaded: {reason}") from error
        for fault in ("missing_keys", "unexpected_keys"):
            if report[fault]:
                names = ", ".join(sorted(report[fault]))
                raise ConfigError(f"{directory}: weights have {fault.replace('_', ' ')}: {names}")
        return cls(hf_model, hf_model.config)


class Transformer(TransformersBacked):
    """A model with positions and attention: its block length is limited, its kernel is chosen."""

    @classmethod
    def build(cls, config: ExperimentConfig, hf_config: Any) -> Self:
        """Make a model with random weights and the attention that the experiment asks for."""
        implementation, _ = choose_attention(
            config.training.attn_implementation,
            device_type="cuda" if torch.cuda.is_available() else "cpu",
            mixed_precision=config.training.mixed_precision,
        )
        hf_model = cls.hf_class(hf_config)._from_config(
            hf_config, attn_implementation=implementation
        )
        return cls(hf_model, hf_config)

    @property
    def num_positions(self) -> int:
        """The number of positions that the model can tell apart."""
        return int(self.hf_model.config.max_position_embeddings)

    def call_arguments(self, input_ids: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
        """Number the tokens from 0, wherever the padding is.

        Raises:
            ValueError: the block is longer than the positions.
        """
        length = input_ids.shape[1]
        if length > self.num_positions:
            raise ValueError(
                f"a block of {length} tokens exceeds the {self.num_positions} positions of this "
                f"{self.model_type} (max_position_embeddings); shorten the block."
            )
        usual = super().call_arguments(input_ids, attention_mask)
        if attention_mask is not None:
            positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
            usual["position_ids"] = positions[:, -length:]
        return usual

    def generate(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 20,
        **kwargs: Any,
    ) -> Tensor:
        """Continue rows of ids, within the positions of the model.

        Raises:
            ConfigError: the model fills masks instead.
            ValueError: prompt and continuation together exceed the positions.
        """
        self.require_generation()
        if input_ids.shape[1] + max_new_tokens > self.num_positions:
            raise ValueError(
                f"a prompt of {input_ids.shape[1]} tokens and max_new_tokens (={max_new_tokens}) "
                f"exceed the {self.num_positions} positions of this {self.model_type}; lower one."
            )
        return super().generate(
            input_ids, attention_mask=attention_mask, max_new_tokens=max_new_tokens, **kwargs
        )
