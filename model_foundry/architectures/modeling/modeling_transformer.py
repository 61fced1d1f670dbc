"""Transformers that are trained from scratch: a decoder that continues texts, and an encoder that
fills masks.

No forward takes `**kwargs`, so that an unknown argument is refused by name.

Letters of shapes: B rows, T positions, S positions with those in the cache, H hidden size,
V vocabulary.
"""

import inspect
from dataclasses import fields

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
)
from transformers.utils.generic import can_return_tuple

# Some versions of transformers copy only the files that this one names, so it names them all.
from .attention import MultiHeadAttention  # noqa: F401
from .configuration_transformer import TransformerConfig
from .feed_forward import FeedForward  # noqa: F401
from .key_value_cache import new_cache
from .masks import combined_mask  # noqa: F401
from .normalization import create_norm  # noqa: F401
from .positions import create_positions  # noqa: F401
from .transformer_block import norm_of
from .transformer_stack import TransformerStack

try:
    from transformers import initialization as init
except ImportError:  # transformers 4
    init = nn.init

# transformers 5.24 calls it `cache`, earlier versions `past_key_values`; both are accepted.
_FIELDS = {field.name for field in fields(CausalLMOutputWithPast)}
CACHE = "cache" if "cache" in _FIELDS else "past_key_values"


class TransformerPreTrainedModel(PreTrainedModel):
    """The settings of transformers that all of these models share, and their initial weights."""

    config_class: type[TransformerConfig] = TransformerConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["TransformerBlock"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw weights from N(0, initializer_range), as GPT-2 and BERT.

        Before pre-norm residual sums they are smaller by the square root of their number in the
        stack, so that the variance does not grow with depth (Radford et al. 2019). Embeddings
        beside sinusoids, which are multiplied by sqrt(H), get variance 1/H.
        """
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            # Not by the class of the sublayer: transformers passes by modules without parameters.
            init.normal_(module.weight, std=std * getattr(module, "num_sums", 1) ** -0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            scaled = self.config.positions == "sinusoidal"
            init.normal_(module.weight, std=self.config.hidden_size**-0.5 if scaled else std)

    def _loss(self, logits: Tensor, labels: Tensor | None, num_items_in_batch):
        if labels is None:
            return None
        size = self.config.vocab_size
        return self.loss_function(
            logits, labels, vocab_size=size, num_items_in_batch=num_items_in_batch
        )


class TransformerModel(TransformerPreTrainedModel):
    """Token embeddings and one stack, causal in the layout `decoder`."""

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        causal = config.layout == "decoder"
        self.stack = TransformerStack(config, config.num_hidden_layers, causal=causal)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        document_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> BaseModelOutputWithPast:
        """Read ids (B, T) or embeddings (B, T, H); outputs at padding are meaningless.

        Args:
            attention_mask: (B, S), 1 for real tokens, 0 for padding; None: all are real.
            position_ids: (B, T); None: counted from 0 without padding, in each document.
            past_key_values, cache: two names for the cache of the S - T tokens read before.
            use_cache: return a cache, so that the text can be continued.
            document_ids: (B, T) numbers of documents that do not see each other, -1 at padding.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either `input_ids` or `inputs_embeds`.")
        if past_key_values is None:
            past_key_values = new_cache() if cache is None and use_cache else cache
        states = self.stack(
            self.embed(input_ids) if inputs_embeds is None else inputs_embeds,  # (B, T, H)
            attention_mask,
            document_ids,
            position_ids,
            cache=past_key_values,
        )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return BaseModelOutputWithPast(
            last_hidden_state=states[-1],
            hidden_states=tuple(states) if output_hidden_states else None,
            **{CACHE: past_key_values},
        )


class TransformerLM(TransformerPreTrainedModel):
    """A transformer with a matrix that maps its output onto the vocabulary."""

    _tied_weights_keys = {"lm_head.weight": "transformer.embed.weight"}  # noqa: RUF012
    accepts_loss_kwargs = True  # num_items_in_batch; otherwise Trainer divides the loss
    output_bias: bool

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.transformer = TransformerModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=self.output_bias)

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value


class TransformerForCausalLM(TransformerLM, GenerationMixin):
    """A decoder that predicts the next token (Radford et al. 2018, 2019)."""

    output_bias = False

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.post_init()

    def prepare_inputs_for_generation(self, *args, **kwargs):
        """Return the arguments of `forward`, without those that only some versions pass."""
        inputs = super().prepare_inputs_for_generation(*args, **kwargs)
        known = inspect.signature(self.forward).parameters
        return {name: value for name, value in inputs.items() if name in known}

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        document_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        cache: Cache | None = None,
    ) -> CausalLMOutputWithPast:
        """Predict at each position the next token; the caller does not shift `labels` (B, T).

        With `document_ids` (B, T) the first token of each document is to be labelled -100.
        """
        read = self.transformer(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_hidden_states,
            document_ids,
            cache,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(read.last_hidden_state[:, kept])  # (B, T, V)
        return CausalLMOutputWithPast(
            loss=self._loss(logits, labels, num_items_in_batch),
            logits=logits,
            hidden_states=read.hidden_states,
            **{CACHE: read.get(CACHE)},
        )


class MaskedLMHead(nn.Module):
    """The layer before the output matrix, as in BERT (Devlin et al. 2019, arXiv:1810.04805)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = norm_of(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H) to (B, T, H)."""
        return self.norm(nn.functional.gelu(self.dense(x)))


class TransformerForMaskedLM(TransformerLM):
    """An encoder that fills masked positions (Devlin et al. 2019, arXiv:1810.04805)."""

    output_bias = True

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.head = MaskedLMHead(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        document_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> MaskedLMOutput:
        """Predict the tokens at the positions where `labels` (B, T) is not -100."""
        read = self.transformer(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            document_ids=document_ids,
        )
        logits = self.lm_head(self.head(read.last_hidden_state))  # (B, T, V)
        loss = self._loss(logits, labels, num_items_in_batch)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=read.hidden_states)


TransformerConfig.register_for_auto_class()
TransformerModel.register_for_auto_class("AutoModel")
TransformerForCausalLM.register_for_auto_class("AutoModelForCausalLM")
TransformerForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
