"""Any causal or masked language-model type that transformers builds from a configuration.

Encoder-decoders are in `huggingface_seq2seq`.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from model_foundry.architectures import hub_types
from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import device_of
from model_foundry.architectures.document_masks import (
    as_scores,
    positions_within,
    same_document,
    without_padding,
)
from model_foundry.architectures.hf_language_model import HFLanguageModel
from model_foundry.architectures.hf_model import HFModel
from model_foundry.architectures.hub_configuration import (
    HEAD,
    SavedConfig,
    configuration_of,
    type_and_head,
)
from model_foundry.architectures.hub_trial import try_generation
from model_foundry.architectures.hub_values import refusals
from model_foundry.architectures.kernels.attention_choice import ISOLATING, choose_attention
from model_foundry.architectures.model_type_laws import holds, require_law
from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.restored import evaluation_mode
from model_foundry.architectures.saving.hf_arguments import arguments_of
from model_foundry.architectures.saving.native_format import LANGUAGE, Record
from model_foundry.config import OBJECTIVES, ExperimentConfig, HuggingFaceConfig
from model_foundry.errors import ConfigError

TRIAL_LENGTH = 4
WINDOW = "sliding_attention"  # kind of layer


def _attention_of(hf_class: Any, config: ExperimentConfig) -> str:
    """Return the first kernel that the type supports: the one asked for, sdpa, eager."""
    asked, _ = choose_attention(
        config.training.attn_implementation,
        device_type="cpu" if config.training.use_cpu or not torch.cuda.is_available() else "cuda",
        mixed_precision=config.training.mixed_precision,
        packed_documents=config.data.packing == "documents",
    )
    supported = {"eager": True, "sdpa": hf_class._supports_sdpa}
    supported["flash_attention_2"] = hf_class._supports_flash_attn
    return next(name for name in (asked, "sdpa", "eager") if supported.get(name))


class HubModel(HFModel):
    """A model type of transformers, with any head."""

    hf_config_class = SavedConfig
    model_type = "huggingface"
    runs_when_created = True
    heads: ClassVar[tuple[str, ...]]
    """The heads of models of this class."""
    knows_documents: ClassVar[bool] = False
    """True if some of its types keep packed documents apart."""

    @classmethod
    def from_config(
        cls, config: ExperimentConfig, *, vocab_size: int | None = None, **kwargs: Any
    ) -> Self:
        """Create a model with random weights; see `HFLanguageModel`.

        Raises:
            ConfigError: transformers has no such type or field, or cannot run it here.
        """
        section: HuggingFaceConfig = config.model.section
        size = vocab_size or config.tokenizer.vocab_size
        hf_config = configuration_of(config, {"vocab_size": size, **kwargs})
        with refusals(section):
            model = cls.build(config, hf_config)
            if config.data.packing == "documents" and cls.knows_documents:
                field, remedy = "data.packing (=documents)", "use blocks or streams"
                model._require("documents", field=field, remedy=remedy)
            if section.fields.get("tie_word_embeddings"):
                model.require_tied_matrices()
            model.try_out()
            if OBJECTIVES[config.training.objective].model_kind == LANGUAGE:
                try_generation(cast(BaseLanguageModel, model), model.hf_config.model_type)
        return model

    @classmethod
    def check_settings(cls, config: ExperimentConfig) -> None:
        """Require the model type, its head and its fields.

        Raises:
            ConfigError: transformers has no such type or field, or its head does not suit.
        """
        type_and_head(config)

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of the section."""
        section: HuggingFaceConfig = config.model.section
        return section.fields

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return the class for the type and the head of a configuration."""
        head = getattr(hf_config, HEAD)
        if head not in cls.heads:
            raise ConfigError(f"{HEAD} must be {' or '.join(cls.heads)}; save the model again.")
        return hub_types.CLASSES[head][type(hf_config)]

    @classmethod
    def build(cls, config: ExperimentConfig, hf_config: Any) -> Self:
        """Create a model with random weights and the attention of the experiment."""
        hf_class = cls.hf_class(hf_config)
        kernel = _attention_of(hf_class, config)
        return cls(hf_class._from_config(hf_config, attn_implementation=kernel), hf_config)

    def require_tied_matrices(self) -> None:
        """Raise a `ConfigError` unless the matrices of input and output are one."""
        head = self.hf_model.get_output_embeddings()
        if head is None or head.weight is not self.get_input_embeddings().weight:
            raise ConfigError(
                f"model.huggingface.tie_word_embeddings (=true): {self.hf_config.model_type} "
                "does not tie its matrices here; set it to false"
            )

    @abstractmethod
    def try_out(self) -> None:
        """Run the model on a few tokens, unless it is on the meta device."""

    @property
    def num_positions(self) -> int | None:
        """The number of positions of a row; None: the type has no limit."""
        held = getattr(self.hf_config, hub_types.POSITIONS, None)
        pad = getattr(self.hf_config, "pad_token_id", None)
        return held and int(held) - hub_types.unused_positions(self.hf_config.model_type, pad)

    @property
    def attention_in_use(self) -> str | None:
        """The attention kernel, by its name in transformers; None: it has no attention heads."""
        heads = hasattr(self.hf_config, "num_attention_heads")
        return str(self.hf_model.config._attn_implementation) if heads else None

    def _require(self, law: str, *, field: str, remedy: str) -> None:
        """Raise a `ConfigError` unless a law is known to hold for the type."""
        model_type, head = self.hf_config.model_type, getattr(self.hf_config, HEAD)
        require_law(law, model_type, head, field=field, remedy=remedy)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute the activations of each layer in the backward pass.

        Raises:
            ConfigError: the type does not support it.
        """
        self.require_gradient_checkpointing()
        super().gradient_checkpointing_enable()

    def require_gradient_checkpointing(self) -> None:
        """Raise a `ConfigError` unless the type supports gradient checkpointing."""
        if not self.hf_model.supports_gradient_checkpointing:
            raise ConfigError(
                "training.gradient_checkpointing (=true) is not supported by model_type "
                f"{self.hf_config.model_type!r}; leave it out."
            )

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a HuggingFace directory for the Auto classes."""
        setattr(self.hf_model.config, HEAD, getattr(self.hf_config, HEAD))
        super().save_pretrained(directory)


@register_architecture("huggingface")
class HuggingFaceModel(HubModel, HFLanguageModel):
    """A language model of transformers, with a causal or a masked head."""

    heads = hub_types.LANGUAGE_HEADS
    knows_documents = knows_segments = True

    @torch.no_grad()
    def try_out(self) -> None:
        """Run the model on a few tokens; on the meta device, where nothing is computed, not.

        Raises:
            ConfigError: it is to be causal, but a token changes an output before it.
        """
        if (device := device_of(self)).type == "meta":
            return
        length = min(TRIAL_LENGTH, self.num_positions or TRIAL_LENGTH)
        ids = torch.zeros(1, length, dtype=torch.long, device=device)
        ids += torch.arange(length, device=device) % self.vocabulary_size
        other = ids.clone()
        other[:, -1] = 0
        with evaluation_mode(self):
            before, after = (self(each).logits[:, :-1] for each in (ids, other))
        if self.supports_generation and not torch.allclose(before, after, atol=1e-4):
            raise ConfigError(
                f"model.huggingface: {self.hf_config.model_type} sees later tokens with these "
                "fields, so that it cannot predict the next one; use another type"
            )

    @property
    def supports_generation(self) -> bool:
        """True with a causal head."""
        return bool(getattr(self.hf_config, HEAD) == "causal")

    def call_arguments(
        self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> dict[str, Any]:
        """Number the tokens of each text from 0, where the type numbers tokens at all.

        Raises:
            ConfigError: the type does not keep documents apart.
            ValueError: the block exceeds the positions.
        """
        self.require_positions(block=input_ids.shape[1])
        usual = super().call_arguments(input_ids, attention_mask, None)
        if document_ids is not None:
            return usual | self._separate(without_padding(document_ids, attention_mask))
        if attention_mask is not None:
            numbers = (attention_mask.cumsum(-1) - 1).clamp(min=0)
            usual |= self._numbered(numbers[:, -input_ids.shape[1] :])
        return usual

    def _numbered(self, positions: Tensor) -> dict[str, Any]:
        """Return the argument for positions (B, T) counted from 0, if the type takes it."""
        if "position_ids" not in arguments_of(self.hf_model):
            return {}
        model_type, pad = self.hf_config.model_type, getattr(self.hf_config, "pad_token_id", None)
        return {"position_ids": positions + hub_types.unused_positions(model_type, pad)}

    def _has_window(self) -> bool:
        """Return True if a layer sees a limited number of tokens before each."""
        layers = getattr(self.hf_config, "layer_types", None) or ()
        return WINDOW in layers or bool(getattr(self.hf_config, "sliding_window", None))

    def _separate(self, document_ids: Tensor) -> dict[str, Any]:
        """Return mask and positions that keep documents apart, given ids (B, T)."""
        self._require("documents", field="document_ids", remedy="leave them out")
        if self.attention_in_use not in ISOLATING:
            raise ConfigError(
                f"attention {self.attention_in_use!r} cannot keep the documents of a row apart; "
                f"load the model with attn_implementation {' or '.join(ISOLATING)}."
            )
        same = same_document(document_ids)
        numbers = self._numbered(positions_within(same))
        if self._has_window():
            # a mask of four dimensions would replace the window; without any, transformers
            # separates runs of positions by itself, in causal models
            return numbers | {"attention_mask": None}
        visible = (same.tril() if self.is_causal else same)[:, None]  # (B, 1, T, T)
        if self.attention_in_use == "eager":
            visible = as_scores(visible, self.hf_model.dtype)
        return {"attention_mask": visible, **numbers}

    def generate(
        self, input_ids: Tensor, *, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """Continue rows of ids; see `HFLanguageModel`.

        Where the cache of the type gives other tokens, or has not been measured, the whole text is
        read for each token, and only the keywords of `BaseLanguageModel.generate` are known.

        Raises:
            ConfigError: a row is padded, but the type does not ignore padding on the left.
        """
        self.require_generation()
        model_type, head = self.hf_config.model_type, getattr(self.hf_config, HEAD)
        if attention_mask is not None and not attention_mask.all():
            field, remedy = "generation from prompts of several lengths", "give one at a time"
            self._require("padding_left", field=field, remedy=remedy)
        if holds("cache", model_type, head):
            return super().generate(input_ids, attention_mask=attention_mask, **kwargs)
        return BaseLanguageModel.generate(self, input_ids, attention_mask=attention_mask, **kwargs)
