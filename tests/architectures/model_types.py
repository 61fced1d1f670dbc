"""Tiny models of many types of transformers, and a measurement of each of their laws."""

import copy
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from model_foundry.architectures import BaseModel, create_model_from_config
from model_foundry.architectures.hub_configuration import HEAD
from model_foundry.architectures.hub_types import OBJECTIVE
from model_foundry.architectures.modeling.modeling_encoder_decoder import shifted_right
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError

V, T = 61, 24
TARGETS = 7  # tokens that an encoder-decoder writes
AUTO: dict[str, Any] = {
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "seq2seq": AutoModelForSeq2SeqLM,
}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDE = {"hidden_size": 16, "num_hidden_layers": 2}
STACK = {**WIDE, "num_attention_heads": 2, "intermediate_size": 32}
GROUPED = {**STACK, "num_key_value_heads": 1}
WINDOWED = {**GROUPED, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8}
ALTERNATING = ["sliding_attention", "full_attention"]
ENCODER = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LINEAR = {f"linear_{name}_head_dim": 8 for name in ("key", "value")} | {
    f"linear_num_{name}_heads": 2 for name in ("key", "value")
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2} | {
    f"{name}_intermediate_size": 16 for name in ("moe", "shared_expert")
}
PAIR = {
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")},
    **{"d_model": 16, "dropout": 0.0},
}
RELATIVE = {
    **{"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
    **{"dropout_rate": 0.0, "relative_attention_num_buckets": 8},
}
SIZES: dict[str, dict[str, Any]] = {
    "albert": {**STACK, **ENCODER, "embedding_size": 8},
    "bart": PAIR,
    "bert": {**STACK, **ENCODER},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "deberta-v2": {
        **STACK,
        **ENCODER,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "distilbert": {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 32,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "electra": {**STACK, **ENCODER, "embedding_size": 8},
    "gemma2": {**WINDOWED, "layer_types": ALTERNATING},
    "gemma3_text": {**WINDOWED, "layer_types": ALTERNATING},
    "gpt2": {
        **{"n_embd": 16, "n_layer": 2, "n_head": 2},
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    },
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "window_size": 6,
        "attention_types": [[["global", "local"], 1]],
    },
    "gpt_neox": STACK,
    "lfm2": {**GROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "llama": GROUPED,
    "mamba": {**WIDE, "state_size": 8},
    "mamba2": {
        **WIDE,
        "state_size": 8,
        "head_dim": 8,
        "num_heads": 4,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "marian": PAIR,
    "mbart": PAIR,
    "mistral": {**GROUPED, "sliding_window": 6},
    "modernbert": {**STACK, "local_attention": 8, "layer_types": ALTERNATING[::-1]},
    "modernbert-decoder": {**STACK, "local_attention": 8, "layer_types": ALTERNATING[::-1]},
    "mt5": RELATIVE,
    "opt": {
        **WIDE,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "word_embed_proj_dim": 16,
        "dropout": 0.0,
    },
    "pegasus": PAIR,
    "qwen3": {**GROUPED, "head_dim": 8},
    "qwen3_next": {
        **GROUPED,
        **LINEAR,
        **EXPERTS,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "recurrent_gemma": {
        **GROUPED,
        "lru_width": 16,
        "attention_window_size": 6,
        "block_types": ["recurrent", "attention"],
    },
    "roberta": {**STACK, **ENCODER},
    "rwkv": {**WIDE, "attention_hidden_size": 16, "intermediate_size": 32},
    "t5": RELATIVE,
    "xlstm": {"hidden_size": 128, "num_blocks": 2, "num_heads": 2, "chunk_size": 8},
}
BOTH = ("bert", "electra", "roberta")
MASKED = ("albert", "deberta-v2", "distilbert", "modernbert")
SEQ2SEQ = ("bart", "marian", "mbart", "mt5", "pegasus", "t5")
HEADS = dict.fromkeys(MASKED, "masked") | dict.fromkeys(SEQ2SEQ, "seq2seq")
CASES = [
    *((name, HEADS.get(name, "causal")) for name in SIZES),
    *((name, "masked") for name in BOTH),
]


def tiny(model_type: str, objective: str, **section: Any) -> ExperimentConfig:
    """Return an experiment on a tiny model of a type."""
    sizes = SIZES.get(model_type, {})
    return ExperimentConfig.model_validate(
        {
            "experiment_name": "tiny",
            "data": {"train": "unread.txt", "max_sequence_length": T},
            "model": {
                "architecture": "huggingface",
                "huggingface": {"model_type": model_type, **sizes, **section},
            },
            "training": {
                "objective": OBJECTIVE[objective],
                "max_steps": 1,
            },
        }
    )


def lively(model: BaseModel) -> BaseModel:
    """Give the matrices of a model larger weights, so that its outputs depend on everything."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.requires_grad:  # sinusoids are not saved
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@functools.cache
def _made(model_type: str, head: str) -> BaseModel:
    torch.manual_seed(0)
    return lively(create_model_from_config(tiny(model_type, head), vocab_size=V, **IDS)).eval()


def make(model_type: str, head: str, **section: Any) -> Any:
    """Return a new tiny model of a type, with the same weights at each call."""
    if not section:
        return copy.deepcopy(_made(model_type, head))
    torch.manual_seed(0)
    config = tiny(model_type, head, **section)
    return lively(create_model_from_config(config, vocab_size=V, **IDS)).eval()


def random_ids(*shape: int, seed: int = 1) -> Tensor:
    """Return ids of real tokens."""
    return torch.randint(3, V, shape, generator=torch.Generator().manual_seed(seed))


def _same(some: Tensor, others: Tensor, limit: float = 1e-4) -> bool:
    return some.shape == others.shape and bool(torch.allclose(some, others, rtol=0, atol=limit))


def is_seq2seq(model: Any) -> bool:
    return bool(getattr(model.hf_config, HEAD) == "seq2seq")


def logits_of(model: Any, ids: Tensor, **given: Any) -> Tensor:
    """Return the logits of a text; of an encoder-decoder those of targets, the text's beginning."""
    if is_seq2seq(model):
        given = {"labels": ids[:, :TARGETS]} | given
    logits: Tensor = model(input_ids=ids, **given).logits
    return logits


def causality(model: Any) -> bool:
    ids = random_ids(2, T)
    if is_seq2seq(model):
        return _decoder_causality(model, ids, ids[:, :TARGETS])
    for t in (5, T - 1):
        changed = ids.clone()
        changed[:, t] = 3 + (ids[:, t] - 2) % (V - 3)
        if not _same(model(ids).logits[:, :t], model(changed).logits[:, :t]):
            return False
    return True


def _decoder_causality(model: Any, ids: Tensor, labels: Tensor) -> bool:
    before = logits_of(model, ids, labels=labels)
    for t in range(TARGETS):
        changed = labels.clone()
        changed[:, t] = 3 + (labels[:, t] - 2) % (V - 3)
        if not _same(logits_of(model, ids, labels=changed)[:, : t + 1], before[:, : t + 1]):
            return False
    return True


def _padded(model: Any, left: int) -> bool:
    ids = random_ids(2, 9)
    padded, mask = torch.zeros(2, 15, dtype=torch.long), torch.zeros(2, 15, dtype=torch.long)
    padded[:, left : left + 9], mask[:, left : left + 9] = ids, 1
    if is_seq2seq(model):
        found = logits_of(model, padded, attention_mask=mask, labels=ids[:, :TARGETS])
        return _same(found, logits_of(model, ids))
    logits = model(padded, attention_mask=mask).logits[:, left : left + 9]
    return _same(logits, model(ids).logits)


def padding_right(model: Any) -> bool:
    return _padded(model, 0)


def padding_left(model: Any) -> bool:
    return _padded(model, 6)


def batches(model: Any) -> bool:
    ids = random_ids(3, T)
    logits = logits_of(model, ids)
    return all(_same(logits[i : i + 1], logits_of(model, ids[i : i + 1])) for i in range(3))


def recomputed(model: Any, ids: Tensor, number: int) -> Tensor:
    """Return greedy continuations, or targets, from the whole text for each token."""
    if is_seq2seq(model):
        written = ids[:, :0]
        for _ in range(number):
            labels = torch.cat((written, ids[:, :1]), dim=1)
            logits = logits_of(model, ids, labels=labels)
            written = torch.cat((written, logits[:, -1:].argmax(-1)), dim=1)
        return written
    for _ in range(number):
        ids = torch.cat((ids, model(ids).logits[:, -1:].argmax(-1)), dim=1)
    return ids


def cache(model: Any) -> bool:
    model.hf_model.generation_config.eos_token_id = None
    ids = random_ids(2, 9)
    given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "pad_token_id": 0}
    cached = model.hf_model.generate(ids, use_cache=True, do_sample=False, **given)
    return torch.equal(cached[:, is_seq2seq(model) :], recomputed(model, ids, 12))


def saving(model: Any) -> bool:
    ids = random_ids(2, T)
    auto, given = AUTO[getattr(model.hf_config, HEAD)], {}
    if is_seq2seq(model):
        given["decoder_input_ids"] = shifted_right(ids[:, :TARGETS], model.start_token_id, pad=0)
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        ours = type(model).from_pretrained(Path(directory)).eval()
        theirs = auto.from_pretrained(directory).eval()
    logits = logits_of(model, ids)
    same = _same(theirs(input_ids=ids, **given).logits, logits, 1e-5)
    return torch.equal(logits_of(ours, ids), logits) and same


def tying(model: Any) -> bool:
    make(model.hf_config.model_type, getattr(model.hf_config, HEAD), tie_word_embeddings=True)
    return True  # else it is refused


def resizing(model: Any) -> bool:
    ids = random_ids(2, T).clamp(max=V - 6)
    before = logits_of(model, ids)
    for size in (V + 7, V - 5):
        model.resize_token_embeddings(size)
        logits = logits_of(model, ids)
        if logits.shape[-1] != size or not _same(logits[..., : V - 5], before[..., : V - 5]):
            return False
    return True


def checkpointing(model: Any) -> bool:
    ids, gradients = random_ids(2, T), []
    plain = copy.deepcopy(model)
    model.gradient_checkpointing_enable()
    for each in (plain, model):
        each.train()
        torch.manual_seed(0)
        each(input_ids=ids, labels=ids).loss.backward()
        gradients.append([p.grad for p in each.parameters()])
    pairs = list(zip(*gradients, strict=True))
    return all((a is None and b is None) or _same(a, b, 1e-4) for a, b in pairs)


def documents(model: Any) -> bool:
    lengths = (10, 9)
    ids, numbers = random_ids(2, T), torch.full((2, T), -1)
    numbers[:, :10], numbers[:, 10:19] = 0, 1
    logits = model(ids, document_ids=numbers, attention_mask=(numbers >= 0).long()).logits
    parts = zip(logits[:, :19].split(lengths, 1), ids[:, :19].split(lengths, 1), strict=True)
    return all(_same(part, model(alone).logits) for part, alone in parts)


MEASURES: dict[str, Callable[[Any], bool]] = {
    measure.__name__: measure
    for measure in (
        causality,
        padding_right,
        padding_left,
        batches,
        cache,
        saving,
        tying,
        resizing,
        checkpointing,
        documents,
    )
}
LAWS_OF: dict[str, set[str]] = {
    "causal": {*MEASURES},
    "masked": MEASURES.keys() - {"causality", "cache"},
    "seq2seq": MEASURES.keys() - {"documents"},
}


def holds(law: str, model: Any) -> bool:
    """Return True if a law holds for a model; False also where transformers raises."""
    try:
        with torch.set_grad_enabled(law == "checkpointing"):
            return MEASURES[law](model)
    except (ConfigError, NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError):
        return False
