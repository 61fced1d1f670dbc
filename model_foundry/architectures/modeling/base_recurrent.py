"""The base class of all recurrent models: arguments, outputs and initial weights."""

from dataclasses import fields

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast, ModelOutput

from .configuration_recurrent import RecurrentConfig
from .layers_recurrent import RecurrentCache
from .padding_recurrent import is_exported
from .scan_recurrent import Gates

try:
    from transformers import initialization as init
except ImportError:  # transformers 4
    init = nn.init

# transformers 5.24 calls it `cache`, earlier versions `past_key_values`; both are accepted.
_FIELDS = {field.name for field in fields(CausalLMOutputWithPast)}
STATE = "cache" if "cache" in _FIELDS else "past_key_values"

# Arguments that generate() adds in one version or another, and a recurrent state does not need.
UNNEEDED = ("cache_position", "is_first_iteration", "next_sequence_length", "position_ids")


def one_state(past_key_values: RecurrentCache | None, cache: RecurrentCache | None):
    """Return the state that was passed under one of its two names."""
    if past_key_values is not None and cache is not None and past_key_values is not cache:
        raise ValueError("`cache` and `past_key_values` are one argument; give one of them.")
    given = cache if past_key_values is None else past_key_values
    if given is not None and not isinstance(given, RecurrentCache):
        raise TypeError(
            f"`past_key_values` must be the RecurrentCache of an earlier output, got a "
            f"{type(given).__name__}."
        )
    return given


def label_count(labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor | int:
    """Return the divisor of a summed loss, at least 1."""
    if num_items_in_batch is not None:
        return num_items_in_batch
    return labels.ne(-100).sum().clamp(min=1)


def refuse_unsupported(token_type_ids: Tensor | None, output_attentions: bool | None) -> None:
    """Raise a `ValueError` for attention weights and for segments other than 0."""
    if output_attentions:
        raise ValueError("`output_attentions` (=True): a recurrent model has no attention.")
    if token_type_ids is not None and not is_exported() and token_type_ids.any():
        raise ValueError("`token_type_ids`: a recurrent model knows no segments; leave them out.")


class RecurrentPreTrainedModel(PreTrainedModel):
    """The settings of transformers that all recurrent models share, and their initial weights."""

    config_class = RecurrentConfig
    base_model_prefix = "recurrent"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True  # num_items_in_batch; otherwise Trainer divides the loss
    _is_stateful = True  # the state of a rejected token cannot be taken back: no assisted decoding
    _supports_cache_class = True  # asked by transformers 4

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # forward makes a RecurrentCache instead

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw recurrent weights from +-1/sqrt(H), with open forget gates in LSTMs and minLSTMs.

        The input of the first layer has variance one, since small inputs are learned from slowly.
        The logits have less, so that the first loss is near ln V. Unlike torch's functions, those
        of transformers leave loaded weights unchanged.
        """
        copy = getattr(init, "copy_", Tensor.copy_)
        if isinstance(module, nn.RNNBase):
            bound = module.hidden_size**-0.5
            for name, parameter in module.named_parameters():
                if name.startswith("weight"):
                    init.uniform_(parameter, -bound, bound)
                else:
                    copy(parameter, self._initial_bias(module, name))
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=1 / self.config.embedding_scale)
        elif isinstance(module, Gates):
            init.uniform_(module.weight, -(module.hidden_size**-0.5), module.hidden_size**-0.5)
            copy(module.bias, module.initial_bias())
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.output_scale * module.in_features**-0.5)
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

    def _answer(self, output, return_dict: bool | None):
        """Return an output, as a tuple if `return_dict` or the configuration asks for one."""
        wanted = getattr(self.config, "return_dict", True) if return_dict is None else return_dict
        return output if wanted else output.to_tuple()


class RecurrentHead(RecurrentPreTrainedModel):
    """A recurrent model with an output layer; each task defines `_logits` and `_loss`."""

    output_class: type[ModelOutput]

    def _predict(self, labels, num_items_in_batch, return_dict, *, keep=0, **inputs):
        """Run the body on `inputs`; `keep` as `logits_to_keep` of transformers."""
        states = dict(self.recurrent(**inputs, return_dict=True))
        kept = slice(-keep, None) if isinstance(keep, int) else keep
        x = states.pop("last_hidden_state")[:, kept]
        logits = self._logits(x, inputs["attention_mask"])
        loss = None if labels is None else self._loss(logits, labels, num_items_in_batch)
        output = self.output_class(loss=loss, logits=logits, **states)
        return self._answer(output, return_dict)


class RecurrentClassifierHead(RecurrentHead):
    """A recurrent model with an output layer for labels of texts or tokens."""

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
    ) -> ModelOutput | tuple:
        """Return the logits and, given labels, the loss."""
        return self._predict(
            labels,
            num_items_in_batch,
            return_dict,
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            token_type_ids=token_type_ids,
            output_attentions=output_attentions,
        )


class RecurrentGenerationMixin(GenerationMixin):
    """Generation that reads only the tokens that the state has not read yet."""

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

        `**kwargs` are passed to `forward`, which refuses unknown ones.
        """
        state = one_state(past_key_values, cache)
        inputs = {key: value for key, value in kwargs.items() if key not in UNNEEDED}
        read = 0 if state is None else state.get_seq_length()
        if inputs_embeds is None:
            if read >= input_ids.shape[1]:
                raise ValueError(
                    f"The state has read {read} tokens already, of {input_ids.shape[1]} that were "
                    "given; give the whole text, with further tokens."
                )
            inputs["input_ids"] = input_ids[:, read:]
        elif read:  # generate() always has a state here
            inputs["input_ids"] = input_ids[:, -1:]
        else:
            inputs["inputs_embeds"] = inputs_embeds
        return inputs | {"attention_mask": attention_mask, STATE: state}
