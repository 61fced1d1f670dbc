"""GPT-2's and BERT's weights in this package's own transformers, and back.

A table names for each module here the modules there whose rows it joins, so that one table serves
both directions. GPT-2 stores its matrices transposed.
"""

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

Tensors = dict[str, Tensor]


class Row(NamedTuple):
    """A module here, and those there whose weights it joins; `{}` is the number of the block."""

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False


_STACK, _BLOCK = "transformer.stack", "transformer.stack.blocks.{}"
_ATTENTION, _FEED_FORWARD = f"{_BLOCK}.self_attention", f"{_BLOCK}.feed_forward"
_BERT = "bert.encoder.layer.{}"
GPT2 = (
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
BERT = (
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
GPT2_FIELDS = _SHARED | {
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
BERT_FIELDS = _SHARED | {
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
SEGMENTS = "bert.embeddings.token_type_embeddings.weight"


def _rows(table: tuple[Row, ...], layers: int) -> Iterator[tuple[str, list[str], bool]]:
    """Yield the tensors' names here and there, for each block."""
    for row in table:
        for layer in range(layers if "{}" in row.ours else 1):
            for kind in ("weight", "bias"):
                theirs = [f"{name.format(layer)}.{kind}" for name in row.theirs]
                yield f"{row.ours.format(layer)}.{kind}", theirs, row.transposed


def _joined(table: tuple[Row, ...], layers: int, theirs: Tensors) -> Tensors:
    """Return our tensors, made of those of the published layout."""
    found = {}
    for ours, names, transposed in _rows(table, layers):
        if names[0] in theirs:
            parts = [theirs[name].t() if transposed else theirs[name] for name in names]
            found[ours] = torch.cat(parts)
    return found


def _split(table: tuple[Row, ...], layers: int, ours: Tensors) -> Tensors:
    """Return the tensors of the published layout, made of ours."""
    found = {}
    for name, theirs, transposed in _rows(table, layers):
        if name in ours:
            for part, their in zip(ours[name].chunk(len(theirs)), theirs, strict=True):
                found[their] = part.t() if transposed else part
    return found


def _fields_of(config: Any, names: dict[str, str]) -> dict[str, Any]:
    return {ours: getattr(config, theirs) for ours, theirs in names.items()}


def _require(config: TransformerConfig, published: str, **wanted: Any) -> None:
    """Raise a `ValueError` where a setting is not that of the published model."""
    for name, value in wanted.items():
        if (found := getattr(config, name)) != value:
            raise ValueError(
                f"a model with {name} (={found!r}) cannot be written as {published}, which has "
                f"{value!r}."
            )


def from_gpt2(model: GPT2LMHeadModel) -> TransformerForCausalLM:
    """Return a decoder with the weights of GPT-2, which computes the same.

    Raises:
        ValueError: its activation is none of ours.
    """
    fields = _fields_of(model.config, GPT2_FIELDS)
    native = TransformerForCausalLM(TransformerConfig(layout="decoder", **fields))
    native.load_state_dict(_joined(GPT2, fields["num_hidden_layers"], model.state_dict()))
    return native


def to_gpt2(native: TransformerForCausalLM) -> GPT2LMHeadModel:
    """Return GPT-2 with the weights of a decoder.

    Raises:
        ValueError: GPT-2 lacks one of its settings.
    """
    config = native.config
    _require(config, "GPT-2", positions="learned", norm="layer_norm", norm_place="pre", bias=True)
    fields = {theirs: getattr(config, ours) for ours, theirs in GPT2_FIELDS.items()}
    model = GPT2LMHeadModel(GPT2Config(embd_pdrop=config.dropout, **fields))
    model.load_state_dict(_split(GPT2, config.num_hidden_layers, native.state_dict()))
    return model


def from_bert(model: BertForMaskedLM) -> TransformerForMaskedLM:
    """Return an encoder with the weights of BERT, which computes the same for one segment.

    The embedding of the first segment, which every token has, is added to the positions.

    Raises:
        ValueError: its activation is none of ours.
    """
    fields = _fields_of(model.config, BERT_FIELDS)
    layout = {"layout": "encoder", "norm_place": "post"}
    native = TransformerForMaskedLM(TransformerConfig(**layout, **fields))
    theirs = model.state_dict()
    ours = _joined(BERT, fields["num_hidden_layers"], theirs)
    ours[f"{_STACK}.positions.embedding.weight"] += theirs[SEGMENTS][0]
    native.load_state_dict(ours)
    return native


def to_bert(native: TransformerForMaskedLM) -> BertForMaskedLM:
    """Return BERT with the weights of an encoder, and segments that add nothing.

    Raises:
        ValueError: BERT lacks one of its settings.
    """
    config = native.config
    _require(config, "BERT", positions="learned", norm="layer_norm", norm_place="post", bias=True)
    model = BertForMaskedLM(
        BertConfig(**{theirs: getattr(config, ours) for ours, theirs in BERT_FIELDS.items()})
    )
    theirs = _split(BERT, config.num_hidden_layers, native.state_dict())
    theirs[SEGMENTS] = torch.zeros_like(model.state_dict()[SEGMENTS])
    theirs["cls.predictions.bias"] = theirs["cls.predictions.decoder.bias"]
    model.load_state_dict(theirs)
    return model
