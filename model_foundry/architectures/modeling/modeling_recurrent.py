"""Recurrent language models: embedding, stacked layers, and an output layer for each task.

Elman (1990); Hochreiter and Schmidhuber (1997); Cho et al. (2014, arXiv:1406.1078); Feng et al.
(2024, arXiv:2410.01201). Tied embeddings after Press and Wolf (2017, arXiv:1608.05859).

No forward takes `**kwargs`, so that an unknown argument is refused by name.

Letters of shapes: B rows, T positions, E embedding size, H hidden size, D directions, V vocabulary,
C labels.
"""

from torch import Tensor, nn
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from .base_recurrent import (
    STATE,
    RecurrentClassifierHead,
    RecurrentGenerationMixin,
    RecurrentHead,
    RecurrentPreTrainedModel,
    label_count,
    one_state,
    refuse_unsupported,
)
from .configuration_recurrent import RecurrentConfig

# Some versions of transformers copy only the files that this one names, so it names them all.
from .functions_recurrent import WholeSequences  # noqa: F401
from .layers_recurrent import RecurrentCache, RecurrentLayer
from .padding_recurrent import final_outputs, sequences_of
from .scan_recurrent import ScannedLayer  # noqa: F401


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

        Without a mask nothing is packed, which is faster: pass none if there is no padding. Of a
        longer mask the last T columns are used. Outputs at padding are meaningless.

        `document_ids` (B, T) number the documents of a row in runs, with -1 at padding: each
        document is read from a fresh state. There are no segments and no attention:
        `token_type_ids` other than 0 and `output_attentions` are errors.
        """
        refuse_unsupported(token_type_ids, output_attentions)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either `input_ids` or `inputs_embeds`.")
        state = self._state(one_state(past_key_values, cache), use_cache)
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, E)
        length = x.shape[1]
        x = self.dropout(x * self.config.embedding_scale)
        sequences = sequences_of(x.shape[:2], attention_mask, document_ids, state)
        if sequences:
            x = sequences.pack(x)  # (N, E)
        seen = [x]
        for index, layer in enumerate(self.layers):
            slot = None if state is None else state.layers[index]
            x = self.dropout(self._run(layer, x, sequences, slot))  # (B, T, DH) or (N, DH)
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
            raise ValueError("A bidirectional model keeps no state: it reads whole texts.")
        return RecurrentCache(len(self.layers)) if given is None else given

    def _run(self, layer: nn.Module, x: Tensor, sequences, slot):
        state = () if slot is None or slot.hidden is None else (slot.hidden, slot.cell)
        call = layer.__call__
        if self.gradient_checkpointing and self.training:
            y, h, c = self._gradient_checkpointing_func(call, x, sequences, *state)
        else:
            y, h, c = call(x, sequences, *state)
        if slot is not None:
            slot.update(h, c)
        return y


class RecurrentLM(RecurrentHead):
    """A recurrent model with a matrix that maps its output onto the vocabulary."""

    # A list of its keys serves transformers 4 as well.
    _tied_weights_keys = {"lm_head.weight": "recurrent.embed.weight"}  # noqa: RUF012
    first_label = 0

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

    def _logits(self, x: Tensor, attention_mask: Tensor | None):
        return self.lm_head(self.projection(x))

    def _loss(self, logits: Tensor, labels: Tensor, num_items_in_batch):
        count = label_count(labels[:, self.first_label :], num_items_in_batch)
        size = self.config.vocab_size
        return self.loss_function(logits, labels, vocab_size=size, num_items_in_batch=count)


class RecurrentForCausalLM(RecurrentLM, RecurrentGenerationMixin):
    """A recurrent model that reads from left to right and predicts the next token."""

    output_class = CausalLMOutputWithPast
    first_label = 1  # the first token is predicted from nothing

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
        return self._predict(
            labels,
            num_items_in_batch,
            return_dict,
            keep=logits_to_keep,
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=one_state(past_key_values, cache),
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            document_ids=document_ids,
            token_type_ids=token_type_ids,
            output_attentions=output_attentions,
        )


class RecurrentForMaskedLM(RecurrentLM):
    """A recurrent model that fills masked positions, as a rule reading in both directions."""

    output_class = MaskedLMOutput

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
        return self._predict(
            labels,
            num_items_in_batch,
            return_dict,
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            document_ids=document_ids,
            token_type_ids=token_type_ids,
            output_attentions=output_attentions,
        )


class RecurrentClassifier(RecurrentClassifierHead):
    """A recurrent model with a matrix that maps its output onto labels."""

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.recurrent = RecurrentModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class RecurrentForSequenceClassification(RecurrentClassifier):
    """A recurrent model that labels texts, (B, C), by the states at their ends.

    Labels are (B,), or (B, C) for several labels or numbers.
    """

    output_class = SequenceClassifierOutput

    def _logits(self, x: Tensor, attention_mask: Tensor | None):
        return self.classifier(final_outputs(x, attention_mask, self.config))

    def _loss(self, logits: Tensor, labels: Tensor, num_items_in_batch):
        here = label_count(labels, None)
        wanted = here if num_items_in_batch is None else num_items_in_batch
        loss = self.loss_function(
            labels=labels, pooled_logits=logits, config=self.config, num_items_in_batch=wanted
        )
        # Of transformers' losses only this one is divided by the number; the others are means.
        if self.config.problem_type == "single_label_classification":
            return loss
        return loss * here / wanted


class RecurrentForTokenClassification(RecurrentClassifier):
    """A recurrent model that labels tokens, (B, T, C); a label of -100 has no loss."""

    output_class = TokenClassifierOutput

    def _logits(self, x: Tensor, attention_mask: Tensor | None):
        return self.classifier(x)

    def _loss(self, logits: Tensor, labels: Tensor, num_items_in_batch):
        count = label_count(labels, num_items_in_batch)
        return self.loss_function(logits, labels, self.config, num_items_in_batch=count)


RecurrentConfig.register_for_auto_class()
RecurrentModel.register_for_auto_class("AutoModel")
RecurrentForCausalLM.register_for_auto_class("AutoModelForCausalLM")
RecurrentForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
RecurrentForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
RecurrentForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
