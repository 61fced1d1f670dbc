"""GPT-2's and BERT's weights in this package's own transformers, and back.

A table names for each module here the modules there whose rows it joins, so that one table serves
both directions. GPT-2 stores its matrices transposed.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.modeling.modeling_transformer import (
    TransformerForCausalLM,
    TransformerForMaskedLM,
)
from model_foundry.architectures.saving.hf_format import from_tensors

Tensors = dict[str, Tensor]


class Row(NamedTuple):
    """A module here, and those there whose weights it joins; `{}` is the number of the block."""

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False


_STACK, _BLOCK = "transformer.stack", "transformer.stack.blocks.{}"
_ATTENTION, _FEED_FORWARD = f"{_BLOCK}.self_attention", f"{_BLOCK}.feed_forward"
_BERT = "bert.encoder.layer.{}"
_GPT2_ROWS = (
    Row("transformer.embed", ("transformer.wte",)),
    Row(f"{_STACK}.positions.embedding", ("transformer.wpe",)),
    Row(f"{_ATTENTION}.norm", ("transformer.h.{}.ln_1",)),
    Row(f"{_ATTENTION}.sublayer.query_key_value", ("transformer.h.{}.attn.c_attn",), True),
    Row(f"{_ATTENTION}.sublayer.output", ("transformer.h.{}.attn.c_proj",), True),
    Row(f"{_FEED_FORWARD}.norm", ("transformer.h.{}.ln_2",)),
    Row(f"{_FEED_FORWARD}.sublayer.up", ("transformer.h.{}.mlp.c_fc",), True),
    Row(f"{_FEED_FORWARD}.sublayer.down", ("transformer.h.{}.mlp.c_proj",), True),
    Row(f"{_STACK}.final_norm", ("transformer.ln_f",)),
    Row("lm_head", ("lm_head",)),
)
_BERT_ROWS = (
    Row("transformer.embed", ("bert.embeddings.word_embeddings",)),
    Row(f"{_STACK}.positions.embedding", ("bert.embeddings.position_embeddings",)),
    Row(f"{_STACK}.embedding_norm", ("bert.embeddings.LayerNorm",)),
    Row(
        f"{_ATTENTION}.sublayer.query_key_value",
        tuple(f"{_BERT}.attention.self.{part}" for part in ("query", "key", "value")),
    ),
    Row(f"{_ATTENTION}.sublayer.output", (f"{_BERT}.attention.output.dense",)),
    Row(f"{_ATTENTION}.norm", (f"{_BERT}.attention.output.LayerNorm",)),
    Row(f"{_FEED_FORWARD}.sublayer.up", (f"{_BERT}.intermediate.dense",)),
    Row(f"{_FEED_FORWARD}.sublayer.down", (f"{_BERT}.output.dense",)),
    Row(f"{_FEED_FORWARD}.norm", (f"{_BERT}.output.LayerNorm",)),
    Row("head.dense", ("cls.predictions.transform.dense",)),
    Row("head.norm", ("cls.predictions.transform.LayerNorm",)),
    Row("lm_head", ("cls.predictions.decoder",)),
)
# fields of the configurations, ours and theirs; the rest follows from the layout
_SHARED = {name: name for name in ("vocab_size", "initializer_range", "tie_word_embeddings")}
_SHARED |= {name: name for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
_GPT2_FIELDS = _SHARED | {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "activation": "activation_function",
    "dropout": "resid_pdrop",
    "attention_dropout": "attn_pdrop",
    "max_position_embeddings": "n_positions",
    "norm_eps": "layer_norm_epsilon",
}
_BERT_FIELDS = _SHARED | {
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "max_position_embeddings": "max_position_embeddings",
    "norm_eps": "layer_norm_eps",
}
OUTPUT_BIAS = "cls.predictions.bias"
SEGMENTS = "bert.embeddings.token_type_embeddings.weight"
# other names of one nonlinearity
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}


class Layout(NamedTuple):
    """A published model, and the form in which our transformers compute the same."""

    name: str
    hf_class: Any
    hf_config_class: Any
    native_class: Any
    rows: tuple[Row, ...]
    fields: dict[str, str]
    """Of the configurations, ours and theirs."""
    native: dict[str, Any]
    """Fields that ours must have."""
    required: dict[str, Any]
    """Fields that theirs must have, since ours computes nothing else."""

    @property
    def prefix(self) -> str:
        """The beginning of the names of its body's tensors."""
        return f"{self.hf_class.base_model_prefix}."

    def tensors(self, layers: int) -> Iterator[tuple[str, list[str], bool]]:
        """Yield the tensors' names here and there, and whether those are transposed."""
        for row in self.rows:
            for layer in range(layers if "{}" in row.ours else 1):
                for kind in ("weight", "bias"):
                    theirs = [f"{name.format(layer)}.{kind}" for name in row.theirs]
                    yield f"{row.ours.format(layer)}.{kind}", theirs, row.transposed


_FORM = {"positions": "learned", "norm": "layer_norm", "bias": True}
LAYOUTS = {
    "gpt2": Layout(
        "GPT-2",
        GPT2LMHeadModel,
        GPT2Config,
        TransformerForCausalLM,
        _GPT2_ROWS,
        _GPT2_FIELDS,
        {"layout": "decoder", "norm_place": "pre"} | _FORM,
        {
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "reorder_and_upcast_attn": False,
            "add_cross_attention": False,
        },
    ),
    "bert": Layout(
        "BERT",
        BertForMaskedLM,
        BertConfig,
        TransformerForMaskedLM,
        _BERT_ROWS,
        _BERT_FIELDS,
        {"layout": "encoder", "norm_place": "post", "embedding_norm": True} | _FORM,
        {"is_decoder": False, "add_cross_attention": False},
    ),
}
"""By the `model_type` of transformers."""


def layout_of(config: TransformerConfig) -> Layout:
    """Return the published layout with the direction of a native configuration."""
    return next(each for each in LAYOUTS.values() if each.native["layout"] == config.layout)


def native_tensors(layout: Layout, layers: int, theirs: Tensors) -> Tensors:
    """Return our tensors, made of those of the published layout as far as they are there.

    The embedding of BERT's first segment, which every token has, is added to the positions.
    """
    found = {}
    if OUTPUT_BIAS in theirs:  # one tensor of two names, of which directories have one
        theirs = {"cls.predictions.decoder.bias": theirs[OUTPUT_BIAS], **theirs}
    for ours, names, transposed in layout.tensors(layers):
        if all(name in theirs for name in names):
            parts = [theirs[name].t() if transposed else theirs[name] for name in names]
            found[ours] = torch.cat(parts)
    positions = f"{_STACK}.positions.embedding.weight"
    if SEGMENTS in theirs and positions in found:
        found[positions] += theirs[SEGMENTS][0]
    return found


def published_tensors(layout: Layout, layers: int, ours: Tensors) -> Tensors:
    """Return the tensors of the published layout, made of ours as far as they are there."""
    found = {}
    for name, theirs, transposed in layout.tensors(layers):
        if name in ours:
            for part, their in zip(ours[name].chunk(len(theirs)), theirs, strict=True):
                found[their] = part.t().contiguous() if transposed else part.contiguous()
    if "cls.predictions.decoder.bias" in found:
        found[OUTPUT_BIAS] = found["cls.predictions.decoder.bias"]
    return found


def native_config(hf_config: Any) -> TransformerConfig:
    """Return the configuration of a native transformer that computes what a published one does.

    Raises:
        ValueError: it computes something that ours does not.
    """
    layout = LAYOUTS[hf_config.model_type]
    fields = {ours: getattr(hf_config, theirs) for ours, theirs in layout.fields.items()}
    required = dict(layout.required)
    if layout.name == "GPT-2":
        required["embd_pdrop"] = hf_config.resid_pdrop
    for name, value in required.items():
        if (found := getattr(hf_config, name, value)) != value:
            raise ValueError(f"{name} (={found!r}) is not computed by the native {layout.name}")
    fields["activation"] = _ACTIVATIONS.get(fields["activation"], fields["activation"])
    return TransformerConfig(**layout.native, **fields)


def published_config(native: TransformerConfig) -> Any:
    """Return the configuration of the published model that computes the same.

    Raises:
        ValueError: the published model lacks one of the settings.
    """
    layout = layout_of(native)
    for name, value in layout.native.items():
        if (found := getattr(native, name)) != value:
            raise ValueError(
                f"a model with {name} (={found!r}) cannot be written as {layout.name}, which has "
                f"{value!r}."
            )
    fields = {theirs: getattr(native, ours) for ours, theirs in layout.fields.items()}
    if layout.name == "GPT-2":
        fields["embd_pdrop"] = native.dropout
    return layout.hf_config_class(**fields)


def from_published(model: Any) -> Any:
    """Return a native transformer with the weights of GPT-2 or BERT, which computes the same.

    Segments of BERT other than the first are lost.

    Raises:
        ValueError: the model computes something that ours does not.
    """
    layout, config = LAYOUTS[model.config.model_type], native_config(model.config)
    ours = native_tensors(layout, config.num_hidden_layers, model.state_dict())
    asked = model.config._attn_implementation
    kernel = {"attn_implementation": "eager" if asked == "eager" else "sdpa"}
    return from_tensors(layout.native_class, config, ours, kernel)[0]


def to_published(native: Any, hf_config: Any = None) -> Any:
    """Return GPT-2 or BERT with the weights of a native transformer; BERT's segments add nothing.

    Args:
        hf_config: further fields of the published model; None: its defaults.

    Raises:
        ValueError: the published model lacks one of the settings.
    """
    layout, wanted = layout_of(native.config), published_config(native.config)
    if hf_config is not None:
        size = wanted.vocab_size
        wanted = copy.deepcopy(hf_config)
        wanted.vocab_size = size
    ours = {name: tensor.cpu() for name, tensor in native.state_dict().items()}
    theirs = published_tensors(layout, native.config.num_hidden_layers, ours)
    if layout.name == "BERT":
        embeddings = theirs["bert.embeddings.word_embeddings.weight"]
        theirs[SEGMENTS] = embeddings.new_zeros(wanted.type_vocab_size, embeddings.shape[1])
    return from_tensors(layout.hf_class, wanted, theirs, {})[0]
