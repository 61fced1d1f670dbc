"""The ground that all recurrent models stand on: their arguments, outputs and initial weights."""

from dataclasses import fields

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_recurrent import RecurrentConfig
from .layers_recurrent import RecurrentCache
from .padding_recurrent import is_exported

try:
    from transformers import initialization as init
except ImportError:  # transformers 4
    init = nn.init

# transformers 5.24 calls it `cache`, all before `past_key_values`; both are understood.
_FIELDS = {field.name for field in fields(CausalLMOutputWithPast)}
STATE = "cache" if "cache" in _FIELDS else "past_key_values"


def one_state(past_key_values: RecurrentCache | None, cache: RecurrentCache | None):
    """Return the state that was given under one of its two names."""
    if past_key_values is not None and cache is not None and past_key_values is not cache:
        raise ValueError("`cache` and `past_key_values` are one argument; give one of them.")
    given = cache if past_key_values is None else past_key_values
    if given is not None and not isinstance(given, RecurrentCache):
        raise TypeError(
            f"`past_key_values` must be the RecurrentCache of an earlier output, got a "
            f"{type(given).__name__}."
        )
    return given


def count_of(labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor | int:
    """Return what a summed loss is divided by: one where no label counts."""
    if num_items_in_batch is not None:
        return num_items_in_batch
    return labels.ne(-100).sum().clamp(min=1)


def refuse_what_is_not_there(token_type_ids: Tensor | None, output_attentions: bool | None) -> None:
    """Raise a `ValueError` for segments and attention; segments that are all 0 say nothing."""
    if output_attentions:
        raise ValueError("`output_attentions` (=True): a recurrent model has no attention.")
    if token_type_ids is not None and not is_exported() and token_type_ids.any():
        raise ValueError("`token_type_ids`: a recurrent model knows no segments; leave them out.")


class RecurrentPreTrainedModel(PreTrainedModel):
    """What transformers needs to know of all recurrent models, and their initial weights."""

    config_class = RecurrentConfig
    base_model_prefix = "recurrent"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True  # num_items_in_batch, without which Trainer divides by itself
    _is_stateful = True  # the state of a rejected token cannot be taken back: no assisted decoding
    _supports_cache_class = True  # asked by transformers 4

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
            copy = getattr(init, "copy_", Tensor.copy_)
            for name, parameter in module.named_parameters():
                if name.startswith("weight"):
                    init.uniform_(parameter, -bound, bound)
                else:
                    copy(parameter, self._initial_bias(module, name))
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

    def _answer(self, output, return_dict: bool | None):
        """Return an output as it is, or as a tuple where one is wanted."""
        wanted = getattr(self.config, "return_dict", True) if return_dict is None else return_dict
        return output if wanted else output.to_tuple()
