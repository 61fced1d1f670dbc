"""Classifiers of texts and tokens on the body of any language model.

Letters of shapes: B rows, T positions, H hidden size, C labels.
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MODEL_MAPPING, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

# Some versions of transformers copy only the files that this one names, so it names them all.
from .attention import SelfAttention  # noqa: F401
from .base_recurrent import RecurrentPreTrainedModel  # noqa: F401
from .configuration_classifier import ClassifierConfig
from .configuration_recurrent import RecurrentConfig
from .configuration_transformer import TransformerConfig
from .feed_forward import FeedForward  # noqa: F401
from .functions_recurrent import WholeSequences  # noqa: F401
from .key_value_cache import LayerCache  # noqa: F401
from .layers_recurrent import RecurrentCache  # noqa: F401
from .masks import combined_mask  # noqa: F401
from .modeling_recurrent import RecurrentModel
from .modeling_transformer import TransformerModel
from .normalization import create_norm  # noqa: F401
from .padding_recurrent import Sequences  # noqa: F401
from .positions import create_positions  # noqa: F401
from .scan_recurrent import Gates  # noqa: F401
from .transformer_block import TransformerBlock  # noqa: F401
from .transformer_stack import TransformerStack  # noqa: F401

SEVERAL = "multi_label_classification"  # a `problem_type` of transformers
# By name: where transformers loads this file, the configuration may be of a copy of its class.
OWN_BODIES: dict[str, Any] = {
    RecurrentConfig.model_type: RecurrentModel,
    TransformerConfig.model_type: TransformerModel,
}
"""Bodies that transformers does not know, by the `model_type` of their configuration."""


def new_body(config):
    """Return a body with random weights, without a pooling layer of its own."""
    own = OWN_BODIES.get(config.model_type)
    body = MODEL_MAPPING[type(config)] if own is None else own
    pooler = "add_pooling_layer" in inspect.signature(body.__init__).parameters
    return body(config, add_pooling_layer=False) if pooler else body(config)


def first_position(body: nn.Module) -> int:
    """Return the number of a text's first token: 0, or as in RoBERTa the id of padding plus 1."""
    tables = (m for name, m in body.named_modules() if name.endswith("position_embeddings"))
    padding = next((getattr(table, "padding_idx", None) for table in tables), None)
    return 0 if padding is None else padding + 1


def pooled(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Return a vector for each text, (B, H); padding never counts.

    A text of padding alone is read as its padding.

    Args:
        hidden: last states of the body, (B, T, H).
        attention_mask: (B, T), 1 for tokens and 0 for padding on either side.
        pooling: `cls`, `last`, `mean` or `max`, see `ClassifierConfig`.
    """
    real = attention_mask != 0
    real = real | ~real.any(1, keepdim=True)
    if pooling in ("cls", "last"):
        places = torch.arange(real.shape[1], device=real.device)
        if pooling == "cls":
            index = places.masked_fill(~real, real.shape[1]).amin(1)  # (B,)
        else:
            index = places.masked_fill(~real, -1).amax(1)
        return hidden[torch.arange(len(hidden), device=real.device), index]
    outside = ~real[..., None]  # (B, T, 1)
    if pooling == "max":
        return hidden.masked_fill(outside, -torch.inf).amax(1)
    # in fp32, since long texts add up many states
    sums = hidden.float().masked_fill(outside, 0.0).sum(1)
    return (sums / real.sum(1, keepdim=True)).to(hidden.dtype)


def label_loss(
    logits: Tensor,
    labels: Tensor,
    problem_type: str | None,
    num_items_in_batch: Tensor | int | None = None,
) -> Tensor:
    """Return the mean loss over the labels, in nats.

    Args:
        logits: (..., C).
        labels: (...) integers, of which -100 are left out; of several labels, (..., C) of 0 and 1.
        num_items_in_batch: labels by whose number the sum is divided; None: those given.
    """
    if problem_type == SEVERAL:
        mean = F.binary_cross_entropy_with_logits(logits.float(), labels.float())
        # transformers counts every entry of the labels, as this mean does
        return mean if num_items_in_batch is None else mean * labels.numel() / num_items_in_batch
    flat = logits.flatten(0, -2).float()
    total = F.cross_entropy(flat, labels.flatten(), reduction="sum")
    given = num_items_in_batch
    return total / ((labels != -100).sum().clamp(min=1) if given is None else given)


class Classifier(PreTrainedModel):
    """The body of a language model, dropout, and an output layer.

    Args:
        body: with the configuration `config.body_config`; None: one with random weights.
    """

    config_class = ClassifierConfig
    accepts_loss_kwargs = True  # num_items_in_batch; otherwise Trainer divides the loss
    base_model_prefix = "body"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flash_attn_2 = True  # asked by transformers 4
    _supports_flex_attn = True

    def __init__(self, config: ClassifierConfig, body: nn.Module | None = None):
        super().__init__(config)
        self.body: Any = new_body(config.body_config) if body is None else body
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.output = nn.Linear(config.body_config.hidden_size, config.num_labels)
        self.first_position = first_position(self.body)
        self.known = frozenset(inspect.signature(type(self.body).forward).parameters)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Draw the output layer, whose first logits are near zero; the body draws its own."""
        if module is self.output:
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self):
        return self.body.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.body.set_input_embeddings(value)

    def _states(self, input_ids: Tensor, attention_mask: Tensor, **more):
        """Return the output of the body; positions count from the first token."""
        given = {"use_cache": False, **more}
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        given["position_ids"] = positions + self.first_position
        known = {name: value for name, value in given.items() if name in self.known}
        return self.body(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **known
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ):
        """Return the logits of ids (B, T) and, given labels, the mean loss; see `label_loss`.

        `attention_mask` (B, T) is 0 at padding; None: there is none. `num_items_in_batch` is the
        number of labels by which the loss is divided; None: those given.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self._states(input_ids, mask, **segments).last_hidden_state
        logits = self.output(self.dropout(self._features(hidden, mask)))
        kind = self.config.problem_type
        loss = None if labels is None else label_loss(logits, labels, kind, num_items_in_batch)
        output = self.output_class(loss=loss, logits=logits)
        return output.to_tuple() if return_dict is False else output


class ClassifierForSequenceClassification(Classifier):
    """A classifier of texts: logits (B, C), labels (B,) or, of several labels, (B, C)."""

    output_class = SequenceClassifierOutput

    def _features(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        return pooled(hidden, attention_mask, self.config.pooling)  # (B, H)


class ClassifierForTokenClassification(Classifier):
    """A classifier of tokens: logits (B, T, C), labels (B, T), -100 where there is none."""

    output_class = TokenClassifierOutput

    def _features(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        return hidden  # (B, T, H)


ClassifierForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
ClassifierForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
