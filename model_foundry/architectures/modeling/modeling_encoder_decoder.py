"""The encoder-decoder, which reads a source and writes a target (Vaswani et al. 2017,
arXiv:1706.03762).

Letters of shapes: B rows, S positions of the source, T positions of the target, H hidden size,
V vocabulary of the target.
"""

import inspect

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils.generic import can_return_tuple

from .configuration_transformer import TransformerConfig
from .key_value_cache import new_cache
from .modeling_transformer import TransformerPreTrainedModel
from .transformer_stack import TransformerStack


def shifted_right(labels: Tensor, start: int, pad: int) -> Tensor:
    """Return the decoder's input (B, T): a start token, then the labels but for the last.

    Args:
        labels: (B, T), -100 where nothing is predicted.
        start: id of the token that begins each target.
        pad: id that replaces -100.
    """
    shifted = F.pad(labels[:, :-1], (1, 0), value=start)
    return shifted.masked_fill(shifted == -100, pad)


class TransformerSourceEncoder(TransformerPreTrainedModel):
    """The encoder alone; `generate()` calls it once for each source.

    Its embeddings are those of the targets too, unless `source_vocab_size` gives two vocabularies.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.embed = nn.Embedding(config.source_vocab_size or config.vocab_size, config.hidden_size)
        self.stack = TransformerStack(config, config.encoder_layers, causal=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Read a source (B, S), or its embeddings (B, S, H), with its mask (B, S)."""
        if output_attentions:
            raise ValueError("`output_attentions` (=True): the fused kernel stores no weights.")
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        states = self.stack(x, attention_mask)
        shown = tuple(states) if output_hidden_states else None
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=shown)


class TransformerForSeq2SeqLM(TransformerPreTrainedModel, GenerationMixin):
    """Encoder, decoder with cross-attention, and an output matrix.

    The configuration names `decoder_start_token_id` and `pad_token_id`. With one vocabulary, source
    and target have the same embeddings; tied, the output matrix is that of the target's.
    """

    accepts_loss_kwargs = True  # num_items_in_batch; otherwise Trainer divides the loss

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.loss_type = "ForMaskedLM"  # that of transformers which shifts no labels
        self.encoder = TransformerSourceEncoder(config)
        two = config.source_vocab_size is not None
        self.target_embed = nn.Embedding(config.vocab_size, config.hidden_size) if two else None
        self.decoder = TransformerStack(
            config, config.decoder_layers, causal=True, cross_attention=True
        )
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        tied = "target_embed.weight" if two else "encoder.embed.weight"
        self._tied_weights_keys = {"lm_head.weight": tied}
        self.post_init()

    def get_encoder(self, modality=None) -> nn.Module:
        return self.encoder

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the embeddings of the target, which with one vocabulary are the source's too."""
        return self.encoder.embed if self.target_embed is None else self.target_embed

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        if self.target_embed is None:
            self.encoder.embed = value
        else:
            self.target_embed = value

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value

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
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Seq2SeqLMOutput:
        """Predict each token of the target from the source and the tokens before it.

        Args:
            input_ids, attention_mask: the source, (B, S).
            decoder_input_ids: the target so far, (B, T); None: `labels`, shifted right.
            decoder_attention_mask: (B, T) with what the cache holds; None: no padding. Padding at
                the end needs none, since no target looks ahead.
            labels: (B, T), aligned with the logits; -100 is ignored.
            encoder_outputs: of an earlier call, instead of the source.
            past_key_values: cache of the tokens of the target read before.
            use_cache: return a cache, so that the target can be continued.
            num_items_in_batch: labels by whose number the loss is divided; None: those given.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask)
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("Give either `decoder_input_ids` or `labels`.")
            start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
            decoder_input_ids = shifted_right(labels, start, pad)
        if past_key_values is None and use_cache:
            past_key_values = new_cache(cross_attention=True)
        states = self.decoder(
            self.get_input_embeddings()(decoder_input_ids),  # (B, T, H)
            decoder_attention_mask,
            memory=encoder_outputs[0],
            memory_mask=attention_mask,
            cache=past_key_values,
        )
        logits = self.lm_head(states[-1])  # (B, T, V)
        return Seq2SeqLMOutput(
            loss=self._loss(logits, labels, num_items_in_batch),
            logits=logits,
            past_key_values=past_key_values,
            encoder_last_hidden_state=encoder_outputs[0],
        )


TransformerForSeq2SeqLM.register_for_auto_class("AutoModelForSeq2SeqLM")
