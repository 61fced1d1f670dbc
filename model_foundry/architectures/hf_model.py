"""`HFModel`, the base class of architectures made of HuggingFace classes, of any kind.

Those of language models derive from `hf_language_model.HFLanguageModel`. All are saved as
HuggingFace directories whose `config.json` also names the architecture.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from model_foundry.architectures.base_model import BaseModel
from model_foundry.architectures.kernels.fused_activations import fuse_activations
from model_foundry.architectures.losses import masked_lm_loss
from model_foundry.architectures.memory import require_memory_left
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.saving.hf_arguments import (
    STATE_NAMES,
    arguments_of,
    select_arguments,
)
from model_foundry.architectures.saving.hf_format import (
    from_tensors,
    plain_fields,
    require_layers,
    without_progress_bars,
)
from model_foundry.architectures.saving.native_format import (
    ARCHITECTURE_KEY,
    Record,
    read_config_json,
    read_weights,
    require_fit,
)
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import reason_of


def output_of(outputs: Any, *, loss: Tensor | None, logits: Tensor | None) -> ModelOutput:
    """Convert the output of a transformers model or of its body."""
    states = (outputs[name] for name in STATE_NAMES if name in outputs)
    return ModelOutput(
        loss=loss,
        logits=logits,
        hidden_states=outputs.get("hidden_states"),
        attentions=outputs.get("attentions"),
        past_key_values=next(states, None),
    )


class HFModel(BaseModel):
    """A HuggingFace model of any kind behind the interface of this package.

    Args:
        hf_model: a model of transformers with random or trained weights.
        hf_config: its configuration.
    """

    hf_config_class: ClassVar[Any]
    """The transformers configuration class."""

    def __init__(self, hf_model: Any, hf_config: Any) -> None:
        super().__init__()
        self.hf_model = hf_model
        self.hf_config = hf_config

    @property
    def base_model(self) -> nn.Module:
        """The body, as transformers names it."""
        return cast(nn.Module, self.hf_model.base_model)

    @classmethod
    @abstractmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return the transformers model class for a configuration."""

    @classmethod
    @abstractmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of the transformers configuration, without the tokenizer's."""

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        """Create a model with random weights.

        Args:
            config: the experiment; see `hf_fields`.
            **arguments: further fields of the transformers configuration, such as `num_labels`.
        """
        return cls.build(config, cls.hf_config_class(**cls.hf_fields(config), **arguments))

    @classmethod
    def build(cls, config: ExperimentConfig, hf_config: Any) -> Self:
        """Create a model with random weights from a transformers configuration."""
        return cls(cls.hf_class(hf_config)(hf_config), hf_config)

    def forward(self, *given: Any, **inputs: Any) -> ModelOutput:
        """Compute logits and, given labels, the loss; see `loss`.

        Args:
            *given, **inputs: arguments of the wrapped model, and `labels`.

        Raises:
            TypeError: the wrapped model does not name one of them.
        """
        labels = inputs.pop("labels", None)
        arguments = select_arguments(self.hf_model, self.fixed_arguments() | inputs)
        outputs = self.hf_model(*given, **arguments)
        loss = None if labels is None else self.loss(outputs.logits, labels)
        return output_of(outputs, loss=loss, logits=outputs.logits)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the targets, by default the cross-entropy of classes.

        Args:
            logits: (..., C).
            labels: (...); -100 is ignored.
        """
        return masked_lm_loss(logits, labels)

    def require_positions(self, **lengths: int) -> None:
        """Raise a `ValueError` where a text exceeds the positions.

        Args:
            **lengths: number of tokens, by what it is the length of.
        """
        positions = self.num_positions
        for name, length in lengths.items():
            if positions is not None and length > positions:
                raise ValueError(
                    f"{name} (={length} tokens) exceeds the {positions} positions of this model "
                    "(max_position_embeddings); shorten it."
                )

    def fixed_arguments(self) -> dict[str, Any]:
        """Return the arguments of the wrapped model that do not depend on the batch."""
        return {"use_cache": False} if "use_cache" in arguments_of(self.hf_model) else {}

    def compile_for_training(self) -> None:
        """Compile the body; the number of rows in head and loss varies with the labels."""
        self.hf_model.base_model.compile()

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embeddings."""
        return cast(nn.Module, self.hf_model.get_input_embeddings())

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        """Change the vocabulary size; new rows are random, and tied matrices stay tied."""
        resized = self.hf_model.resize_token_embeddings(new_num_tokens, mean_resizing=False)
        return cast(nn.Module, resized)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute the activations of each layer in the backward pass."""
        model = self.hf_model
        # transformers renamed it within version 5
        enable = getattr(
            model, "activation_checkpointing_enable", model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a HuggingFace directory for the Auto classes."""
        setattr(self.hf_model.config, ARCHITECTURE_KEY, self.model_type)
        with without_progress_bars():
            self.hf_model.save_pretrained(directory)

    @classmethod
    def load_directory(
        cls, directory: Path, *, fused_activations: bool = True, **kwargs: Any
    ) -> Self:
        """Load the configuration and the weights of a HuggingFace directory.

        transformers gets their content, never the directory, where it would follow references to
        other files.

        Args:
            directory: has a `config.json` and safetensors.
            fused_activations: use fused nonlinearities of torch.
            **kwargs: of transformers' `from_pretrained`, such as `attn_implementation`.

        Raises:
            ConfigError: the weights are missing or damaged, or do not fit the model.
        """
        fields = plain_fields(read_config_json(directory), directory)
        tensors = read_weights(directory)
        try:
            hf_config = cls.hf_config_class.from_dict(fields)
            require_layers(hf_config, tensors, directory)
            with torch.device("meta"):
                require_fit(cls.hf_class(hf_config)(hf_config), tensors, directory)
            hf_model, report = from_tensors(cls.hf_class(hf_config), hf_config, tensors, kwargs)
        except ConfigError:
            raise
        except Exception as error:  # transformers validates little
            require_memory_left(error, directory)
            reason = f"the model cannot be loaded: {reason_of(error)}"
            raise ConfigError(f"{directory}: {reason}") from error
        for fault in ("missing_keys", "unexpected_keys"):
            if report[fault]:
                names = reason_of(", ".join(sorted(report[fault])))
                raise ConfigError(f"{directory}: weights have {fault.replace('_', ' ')}: {names}")
        if fused_activations:
            fuse_activations(hf_model)
        return cls(hf_model, hf_model.config)
