"""What the architectures made of HuggingFace classes share: calling, saving, loading, generating.

Their directories are plain HuggingFace directories; `config.json` also names the architecture.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from transformers.utils import logging

from model_foundry.architectures.base import BaseLanguageModel, ModelOutput
from model_foundry.architectures.decoding import evaluation_mode
from model_foundry.architectures.losses import language_model_loss
from model_foundry.architectures.plain_directory import (
    ARCHITECTURE_KEY,
    CONFIG,
    Record,
    read_config_json,
    read_weights,
    require_fit,
)
from model_foundry.errors import ConfigError
from model_foundry.foreign import one_line

# Fields of a config.json by which transformers would fetch or patch something, or look for weights
# elsewhere. No model that is trained here has one.
REFUSED_FIELDS = (
    "quantization_config",
    "fusion_config",
    "kernel_config",
    "distributed_config",
    "per_layer_config",
    "transformers_weights",
)
# Which kernels run is the experiment's choice, and whose code belongs to a model is written anew.
IGNORED_FIELDS = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "auto_map",
)


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


def _plain_fields(record: Record, directory: Path) -> Record:
    """Return the fields of a `config.json` that describe a model and nothing else."""
    for field in REFUSED_FIELDS:
        if record.get(field) is not None:
            raise ConfigError(
                f"{directory / CONFIG}: {field} is not read; save the model again without it."
            )
    return {key: value for key, value in record.items() if key not in IGNORED_FIELDS}


def _require_layers(hf_config: Any, tensors: Mapping[str, Tensor], directory: Path) -> None:
    """Refuse a number of layers that nothing could be built for, before it is tried."""
    layers = getattr(hf_config, "num_hidden_layers", 0)
    if layers > len(tensors):
        raise ConfigError(
            f"{directory / CONFIG}: has {layers:,} layers, but the weights are only "
            f"{len(tensors):,} tensors; save the model again."
        )


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
        document_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """Compute logits (B, T, V) and, given labels (B, T), the loss; see `BaseLanguageModel`."""
        usual = self.call_arguments(input_ids, attention_mask, document_ids)
        outputs = self.hf_model(
            input_ids=input_ids, **({"attention_mask": attention_mask} | usual | kwargs)
        )
        return ModelOutput(
            loss=language_model_loss(outputs.logits, labels, causal=self.is_causal),
            logits=outputs.logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            past_key_values=outputs.get("past_key_values"),
        )

    def call_arguments(
        self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> dict[str, Any]:
        """Return what the wrapped model is told besides ids and mask, by default.

        Raises:
            ValueError: there are documents to keep apart, and the model does not know how.
        """
        if document_ids is not None:
            raise ValueError(
                f"{self.model_type} does not keep documents apart; leave document_ids out, or "
                "override call_arguments."
            )
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
        """Load a HuggingFace directory; of its files, the configuration and the weights are read.

        transformers is handed their content and never the directory, in which it would follow what
        the files name.

        Args:
            directory: it has a `config.json` and safetensors.
            **kwargs: of transformers' `from_pretrained`, such as `attn_implementation`.

        Raises:
            ConfigError: the weights are missing or damaged, or not those of the model.
        """
        fields, tensors = (
            _plain_fields(read_config_json(directory), directory),
            read_weights(directory),
        )
        try:
            hf_config = cls.hf_config_class.from_dict(fields)
            _require_layers(hf_config, tensors, directory)
            with torch.device("meta"):
                require_fit(cls.hf_class(hf_config)(hf_config), tensors, directory)
            with _without_progress_bars():
                hf_model, report = cls.hf_class(hf_config).from_pretrained(
                    None,
                    config=hf_config,
                    # copies: the file is mapped, and the model must not change with it
                    state_dict={name: tensor.clone() for name, tensor in tensors.items()},
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    output_loading_info=True,
                    **kwargs,
                )
        except ConfigError:
            raise
        except Exception as error:  # transformers checks little of what a file says
            raise ConfigError(
                f"{directory}: the model cannot be loaded: {one_line(error)}"
            ) from error
        for fault in ("missing_keys", "unexpected_keys"):
            if report[fault]:
                names = one_line(", ".join(sorted(report[fault])))
                raise ConfigError(f"{directory}: weights have {fault.replace('_', ' ')}: {names}")
        return cls(hf_model, hf_model.config)
