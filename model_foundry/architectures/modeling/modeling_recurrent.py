"""Recurrent language models: embedding, stacked layers, projection onto the vocabulary.

Elman (1990); Hochreiter and Schmidhuber (1997); Cho et al. (2014, arXiv:1406.1078). Tied embeddings
after Press and Wolf (2017, arXiv:1608.05859).

No forward takes `**kwargs`: what it does not know is refused by its name, and not lost.

Letters of shapes: B rows, T positions, E embedding size, H hidden size, D directions, V vocabulary,
C labels.
"""

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from .base_recurrent import (
    STATE,
    RecurrentPreTrainedModel,
    count_of,
    one_state,
    refuse_what_is_not_there,
)
from .configuration_recurrent import RecurrentConfig

# Some versions of transformers copy only the files that this one names, so it names them all.
from .functions_recurrent import WholeSequences  # noqa: F401
from .layers_recurrent import RecurrentCache, RecurrentLayer
from .padding_recurrent import Sequences, Steps, is_exported

# What generate() of one version or another makes up itself, and a recurrent state does not need.
UNNEEDED = ("cache_position", "is_first_iteration", "next_sequence_length", "position_ids")


class RecurrentModel(RecurrentPreTrainedModel):
    """Embedding and recurrent layers, with dropout on the embeddings and on each layer's output."""

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.embedding_size)
        widths = [config.embedding_size] + [config.hidden_size] * (config.num_hidden_layers - 1)
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
        token_type_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        cache: RecurrentCache | None = None,
    ) -> BaseModelOutputWithPast | tuple:
        """Read ids (B, T); padding, where the mask is 0, advances no state.

        Without a mask nothing is packed, which is faster: give none where there is no padding. Of
        a longer mask the last T columns are read. Outputs at padding are meaningless.

        `document_ids` (B, T) number the documents of a row, which must not come back once they
        have ended, with -1 at padding: each document is read from a fresh state. There are no
        segments and no attention: `token_type_ids` other than 0 and `output_attentions` are errors.
        """
        refuse_what_is_not_there(token_type_ids, output_attentions)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either `input_ids` or `inputs_embeds`.")
        state = self._state(one_state(past_key_values, cache), use_cache)
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, E)
        length = x.shape[1]
        x = self.dropout(x * self.config.embedding_scale)
        sequences = self._sequences(x.shape[:2], attention_mask, document_ids, state)
        if sequences:
            x = sequences.pack(x)  # (N, E)
        seen = [x]
        for index, layer in enumerate(self.layers):
            x = self._run(layer, x, sequences, state, index)
            x = self.dropout(x)  # (B, T, DH) or (N, DH)
            seen.append(x)
        if state is not None:
            state.num_tokens += length
        if sequences:
            seen = [sequences.restore(y) for y in (seen if output_hidden_states else seen[-1:])]
        output = BaseModelOutputWithPast(
            last_hidden_state=seen[-1],
            hidden_states=tuple(seen) if output_hidden_states else None,
            **{STATE: state},
        )
        return self._answer(output, return_dict)

    def _state(self, given: RecurrentCache | None, use_cache: bool | None):
        if given is None and not use_cache:
            return None
        if self.config.bidirectional:
            raise ValueError("A bidirectional model keeps no state: it reads texts as a whole.")
        return RecurrentCache(len(self.layers)) if given is None else given

    @staticmethod
    def _sequences(shape: torch.Size, attention_mask, document_ids, state):
        """Return how to read rows (B, T) in another way than whole; None where there is none."""
        real = None if attention_mask is None else attention_mask[:, -shape[1] :] != 0
        if is_exported():
            if document_ids is not None:
                raise ValueError("`document_ids` cannot be exported; leave them out.")
            return Steps(real, shape)
        if document_ids is None:
            return None if real is None or shape[1] == 1 else Sequences(real)
        if state is not None:
            raise ValueError("`document_ids` go with no state: each document has a fresh one.")
        inside = document_ids >= 0
        return Sequences(inside if real is None else inside & real, document_ids)

    def _run(self, layer: nn.Module, x: Tensor, sequences, cache, index: int):
        slot = cache.layers[index] if cache is not None else None
        state = () if slot is None or slot.hidden is None else (slot.hidden, slot.cell)
        call = layer.__call__
        if self.gradient_checkpointing and self.training:
            y, h, c = self._gradient_checkpointing_func(call, x, sequences, *state)
        else:
            y, h, c = call(x, sequences, *state)
        if slot is not None:
            slot.update(h, c)
        return y


class RecurrentLM(RecurrentPreTrainedModel):
    """A recurrent model with a matrix that maps its output onto the vocabulary."""

    # A list of its keys serves transformers 4 as well.
    _tied_weights_keys = {"lm_head.weight": "recurrent.embed.weight"}  # noqa: RUF012

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.recurrent = RecurrentModel(config)
        self.projection: nn.Module = nn.Identity()
        width = config.hidden_size
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

    def _loss(self, logits: Tensor, labels: Tensor | None, counted: slice, num_items_in_batch):
        if labels is None:
            return None
        return self.loss_function(
            logits,
            labels,
            vocab_size=self.config.vocab_size,
            num_items_in_batch=count_of(labels[:, counted], num_items_in_batch),
        )


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
        token_type_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        cache: RecurrentCache | None = None,
    ) -> CausalLMOutputWithPast | tuple:
        """Predict at each position the next token; the caller does not shift `labels` (B, T).

        With `document_ids` (B, T) the first token of each document is to be labelled -100.
        """
        outputs = self.recurrent(
            input_ids,
            attention_mask,
            one_state(past_key_values, cache),
            inputs_embeds,
            use_cache,
            output_hidden_states,
            document_ids,
            token_type_ids,
            output_attentions,
            return_dict=True,
        )
        logits = self._logits(outputs.last_hidden_state, logits_to_keep)
        output = CausalLMOutputWithPast(
            loss=self._loss(logits, labels, slice(1, None), num_items_in_batch),
            logits=logits,
            hidden_states=outputs.hidden_states,
            **{STATE: outputs.get(STATE)},
        )
        return self._answer(output, return_dict)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        past_key_values: RecurrentCache | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cache: RecurrentCache | None = None,
        **kwargs,
    ):
        """Return the arguments of `forward` for the tokens that the state has not read yet.

        What else generate() was given goes on to `forward`, which refuses what it does not know.
        """
        state = one_state(past_key_values, cache)
        inputs = {key: value for key, value in kwargs.items() if key not in UNNEEDED}
        read = 0 if state is None else state.get_seq_length()
        if inputs_embeds is None:
            if read >= input_ids.shape[1]:
                raise ValueError(
                    f"The state has read {read} tokens already, of {input_ids.shape[1]} that were "
                    "given; give the whole text, with tokens to go on from."
                )
            inputs["input_ids"] = input_ids[:, read:]
        elif read:  # generate() sees to it that there is a state
            inputs["input_ids"] = input_ids[:, -1:]
        else:
            inputs["inputs_embeds"] = inputs_embeds
        return inputs | {"attention_mask": attention_mask, STATE: state}


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
        token_type_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> MaskedLMOutput | tuple:
        """Predict the tokens at the positions where `labels` (B, T) is not -100."""
        outputs = self.recurrent(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            document_ids=document_ids,
            token_type_ids=token_type_ids,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self._logits(outputs.last_hidden_state, 0)
        output = MaskedLMOutput(
            loss=self._loss(logits, labels, slice(None), num_items_in_batch),
            logits=logits,
            hidden_states=outputs.hidden_states,
        )
        return self._answer(output, return_dict)


class RecurrentClassifier(RecurrentPreTrainedModel):
    """A recurrent model with a matrix that maps its output onto labels."""

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.recurrent = RecurrentModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class RecurrentForSequenceClassification(RecurrentClassifier):
    """A recurrent model that labels texts by the states in which it has read them."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        token_type_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple:
        """Label each row, (B, C), given `labels` (B,), or (B, C) for several labels or numbers."""
        outputs = self.recurrent(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            token_type_ids=token_type_ids,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(self._final(outputs.last_hidden_state, attention_mask))
        output = SequenceClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels, num_items_in_batch),
            logits=logits,
            hidden_states=outputs.hidden_states,
        )
        return self._answer(output, return_dict)

    def _final(self, y: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the outputs (B, DH) at the last token, or at the first of what reads backwards.

        Args:
            y: (B, T, DH).
            attention_mask: (B, T), 0 for padding on either side; None: no padding.
        """
        size = self.config.hidden_size_per_direction
        if attention_mask is None:
            last, first = y[:, -1], y[:, 0]
        else:
            rows = torch.arange(y.shape[0], device=y.device)
            positions = torch.arange(y.shape[1], device=y.device)
            real = attention_mask != 0
            last = y[rows, (positions * real).amax(1)]
            first = y[rows, positions[-1] - (positions.flip(0) * real).amax(1)]
        if not self.config.bidirectional:
            return last
        return torch.cat((last[:, :size], first[:, size:]), dim=1)

    def _loss(self, logits: Tensor, labels: Tensor, num_items_in_batch):
        here = count_of(labels, None)
        wanted = here if num_items_in_batch is None else num_items_in_batch
        loss = self.loss_function(
            labels=labels, pooled_logits=logits, config=self.config, num_items_in_batch=wanted
        )
        # Only this of transformers' losses knows by what to divide; the others are means.
        if self.config.problem_type == "single_label_classification":
            return loss
        return loss * here / wanted


class RecurrentForTokenClassification(RecurrentClassifier):
    """A recurrent model that labels tokens."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        token_type_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple:
        """Label each token, (B, T, C); where `labels` (B, T) is -100 there is no loss."""
        outputs = self.recurrent(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            token_type_ids=token_type_ids,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            count = count_of(labels, num_items_in_batch)
            loss = self.loss_function(logits, labels, self.config, num_items_in_batch=count)
        output = TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states
        )
        return self._answer(output, return_dict)


RecurrentConfig.register_for_auto_class()
RecurrentModel.register_for_auto_class("AutoModel")
RecurrentForCausalLM.register_for_auto_class("AutoModelForCausalLM")
RecurrentForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
RecurrentForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
RecurrentForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
