"""Recurrent language models: embedding, stacked layers, projection onto the vocabulary.

Elman (1990); Hochreiter and Schmidhuber (1997); Cho et al. (2014, arXiv:1406.1078). Tied embeddings
after Press and Wolf (2017, arXiv:1608.05859).

Letters of shapes: B rows, T positions, E embedding size, H hidden size, D directions, V vocabulary.
"""

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
)

from .configuration_recurrent import RecurrentConfig
from .layers_recurrent import RecurrentCache, RecurrentLayer, Sequences


class RecurrentPreTrainedModel(PreTrainedModel):
    """What transformers needs to know of all recurrent models, and their initial weights."""

    config_class = RecurrentConfig
    base_model_prefix = "recurrent"
    supports_gradient_checkpointing = True
    _is_stateful = True  # the state of a rejected token cannot be taken back: no assisted decoding

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # forward makes a RecurrentCache instead

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw recurrent weights from +-1/sqrt(H), and start LSTMs remembering.

        What the first layer reads has variance one: small inputs are learned from slowly. What the
        output matrix yields has less, so that the first loss is near ln V. The functions of
        transformers leave alone what was loaded, unlike those of torch.
        """
        if isinstance(module, nn.RNNBase):
            bound = module.hidden_size**-0.5
            for name, parameter in module.named_parameters():
                if name.startswith("weight"):
                    init.uniform_(parameter, -bound, bound)
                else:
                    init.copy_(parameter, self._initial_bias(module, name))
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=1 / self.config.embedding_scale)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)

    @staticmethod
    def _initial_bias(rnn: nn.RNNBase, name: str) -> Tensor:
        """Return zeros, but one for the forget gate (Gers, Schmidhuber and Cummins 2000).

        torch adds two bias vectors; only that of the input is set. Gates are ordered i, f, g, o.
        """
        bias = torch.zeros_like(getattr(rnn, name))
        if isinstance(rnn, nn.LSTM) and name.startswith("bias_ih"):
            bias[rnn.hidden_size : 2 * rnn.hidden_size] = 1.0
        return bias


class RecurrentModel(RecurrentPreTrainedModel):
    """Embedding and recurrent layers, with dropout on the embeddings and on each layer's output."""

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.embedding_size)
        widths = [config.embedding_size] + [config.output_size] * (config.num_hidden_layers - 1)
        self.layers = nn.ModuleList(RecurrentLayer(config, width) for width in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: RecurrentCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        document_ids: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Read ids (B, T); padding, where the mask is 0, advances no state.

        Without a mask nothing is packed, which is faster: give none where there is no padding. Of
        a longer mask the last T columns are read. Outputs at padding are meaningless.

        `document_ids` (B, T) number the documents of a row, which must not come back once they
        have ended, with -1 at padding: each document is read from a fresh state.
        """
        cache = self._cache(past_key_values, use_cache)
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, E)
        x = self.dropout(x * self.config.embedding_scale)
        sequences = self._sequences(x.shape[1], attention_mask, document_ids, cache)
        if sequences:
            x = sequences.pack(x)  # (N, E)
        seen = [x]
        for index, layer in enumerate(self.layers):
            x = self._run(layer, x, sequences, cache, index)
            x = self.dropout(x)  # (B, T, DH) or (N, DH)
            seen.append(x)
        if sequences:
            seen = [sequences.restore(y) for y in (seen if output_hidden_states else seen[-1:])]
        return BaseModelOutputWithPast(
            last_hidden_state=seen[-1],
            past_key_values=cache,
            hidden_states=tuple(seen) if output_hidden_states else None,
        )

    def _cache(self, given: RecurrentCache | None, use_cache: bool | None):
        if given is None and not use_cache:
            return None
        if self.config.bidirectional:
            raise ValueError("A bidirectional model keeps no state: it reads texts as a whole.")
        return RecurrentCache(len(self.layers)) if given is None else given

    @staticmethod
    def _sequences(length: int, attention_mask, document_ids, cache) -> Sequences | None:
        """Return what must be packed of T (`length`) positions; None where nothing must."""
        real = None if attention_mask is None else attention_mask[:, -length:] != 0
        if document_ids is None:
            return None if real is None or length == 1 else Sequences(real)
        if cache is not None:
            raise ValueError("`document_ids` go with no state: each document has a fresh one.")
        inside = document_ids >= 0
        return Sequences(inside if real is None else inside & real, document_ids)

    def _run(self, layer: nn.Module, x: Tensor, sequences, cache, index: int):
        slot = cache.layers[index] if cache is not None else None
        state = (slot.keys, slot.values) if slot is not None and slot.is_initialized else ()
        call = layer.__call__
        if self.gradient_checkpointing and self.training:
            y, h, c = self._gradient_checkpointing_func(call, x, sequences, *state)
        else:
            y, h, c = call(x, sequences, *state)
        if slot is not None:
            slot.update(h, c, num_tokens=sequences.shape[1] if sequences else x.shape[1])
        return y


class RecurrentLM(RecurrentPreTrainedModel):
    """A recurrent model with a matrix that maps its output onto the vocabulary."""

    _tied_weights_keys = {"lm_head.weight": "recurrent.embed.weight"}  # noqa: RUF012

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.recurrent = RecurrentModel(config)
        self.projection: nn.Module = nn.Identity()
        width = config.output_size
        if config.tie_word_embeddings and width != config.embedding_size:
            # (B, T, DH) to the width of the embedding matrix, which is the output matrix too
            self.projection = nn.Linear(width, config.embedding_size, bias=False)
            width = config.embedding_size
        self.lm_head = nn.Linear(width, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value

    def _logits(self, x: Tensor, keep: int | Tensor):
        kept = slice(-keep, None) if isinstance(keep, int) else keep
        return self.lm_head(self.projection(x[:, kept]))


class RecurrentForCausalLM(RecurrentLM, GenerationMixin):
    """A recurrent model that reads from left to right and predicts the next token."""

    def __init__(self, config: RecurrentConfig):
        if config.bidirectional:
            raise ValueError(
                "`bidirectional` (=True) shows a causal model the token it must predict; set it to "
                "False, or use RecurrentForMaskedLM."
            )
        super().__init__(config)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: RecurrentCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        document_ids: Tensor | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Predict at each position the next token; the caller does not shift `labels` (B, T).

        With `document_ids` (B, T) the first token of each document is to be labelled -100.
        """
        outputs = self.recurrent(
            input_ids,
            attention_mask,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_hidden_states,
            document_ids,
        )
        logits = self._logits(outputs.last_hidden_state, logits_to_keep)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )


class RecurrentForMaskedLM(RecurrentLM):
    """A recurrent model that fills masked positions, as a rule reading in both directions."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        document_ids: Tensor | None = None,
        **kwargs,
    ) -> MaskedLMOutput:
        """Predict the tokens at the positions where `labels` (B, T) is not -100."""
        outputs = self.recurrent(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            document_ids=document_ids,
        )
        logits = self._logits(outputs.last_hidden_state, 0)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


RecurrentConfig.register_for_auto_class()
RecurrentForCausalLM.register_for_auto_class("AutoModelForCausalLM")
RecurrentForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
