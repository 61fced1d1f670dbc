"""Tiny models of many types of transformers, and a measurement of each of their laws."""

import copy
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from model_foundry.architectures import BaseLanguageModel, create_model_from_config
from model_foundry.architectures.hub_configuration import HEAD
from model_foundry.architectures.huggingface import HuggingFaceModel
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError

V, T = 61, 24
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
SIZES: dict[str, dict[str, Any]] = {
    "albert": {**STACK, **ENCODER, "embedding_size": 8},
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
    "mistral": {**GROUPED, "sliding_window": 6},
    "modernbert": {**STACK, "local_attention": 8, "layer_types": ALTERNATING[::-1]},
    "modernbert-decoder": {**STACK, "local_attention": 8, "layer_types": ALTERNATING[::-1]},
    "opt": {
        **WIDE,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "word_embed_proj_dim": 16,
        "dropout": 0.0,
    },
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
    "xlstm": {"hidden_size": 128, "num_blocks": 2, "num_heads": 2, "chunk_size": 8},
}
BOTH = ("bert", "electra", "roberta")
MASKED = ("albert", "deberta-v2", "distilbert", "modernbert")
CASES = [
    *((name, "masked" if name in MASKED else "causal") for name in SIZES),
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
                "objective": "masked_lm" if objective == "masked" else "causal_lm",
                "max_steps": 1,
            },
        }
    )


def lively(model: BaseLanguageModel) -> BaseLanguageModel:
    """Give the matrices of a model larger weights, so that its outputs depend on everything."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@functools.cache
def _made(model_type: str, head: str) -> BaseLanguageModel:
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


def causality(model: Any) -> bool:
    ids = random_ids(2, T)
    for t in (5, T - 1):
        changed = ids.clone()
        changed[:, t] = 3 + (ids[:, t] - 2) % (V - 3)
        if not _same(model(ids).logits[:, :t], model(changed).logits[:, :t]):
            return False
    return True


def _padded(model: Any, left: int) -> bool:
    ids = random_ids(2, 9)
    padded, mask = torch.zeros(2, 15, dtype=torch.long), torch.zeros(2, 15, dtype=torch.long)
    padded[:, left : left + 9], mask[:, left : left + 9] = ids, 1
    logits = model(padded, attention_mask=mask).logits[:, left : left + 9]
    return _same(logits, model(ids).logits)


def padding_right(model: Any) -> bool:
    return _padded(model, 0)


def padding_left(model: Any) -> bool:
    return _padded(model, 6)


def batches(model: Any) -> bool:
    ids = random_ids(3, T)
    logits = model(ids).logits
    return all(_same(logits[i : i + 1], model(ids[i : i + 1]).logits) for i in range(3))


def recomputed(model: Any, ids: Tensor, number: int) -> Tensor:
    """Return greedy continuations, from the whole text for each token."""
    for _ in range(number):
        ids = torch.cat((ids, model(ids).logits[:, -1:].argmax(-1)), dim=1)
    return ids


def cache(model: Any) -> bool:
    model.hf_model.generation_config.eos_token_id = None
    ids = random_ids(2, 9)
    given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "pad_token_id": 0}
    cached = model.hf_model.generate(ids, use_cache=True, do_sample=False, **given)
    return torch.equal(cached, recomputed(model, ids, 12))


def saving(model: Any) -> bool:
    ids = random_ids(2, T)
    auto = AutoModelForCausalLM if model.supports_generation else AutoModelForMaskedLM
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        ours = HuggingFaceModel.from_pretrained(Path(directory)).eval()
        theirs = auto.from_pretrained(directory).eval()
    logits = model(ids).logits
    return torch.equal(ours(ids).logits, logits) and _same(theirs(ids).logits, logits, 1e-5)


def tying(model: Any) -> bool:
    make(model.hf_config.model_type, getattr(model.hf_config, HEAD), tie_word_embeddings=True)
    return True  # else it is refused


def resizing(model: Any) -> bool:
    ids = random_ids(2, T).clamp(max=V - 6)
    before = model(ids).logits
    for size in (V + 7, V - 5):
        model.resize_token_embeddings(size)
        logits = model(ids).logits
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
        each(ids, labels=ids).loss.backward()
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
OF_CAUSAL = ("causality", "cache")


def holds(law: str, model: Any) -> bool:
    """Return True if a law holds for a model; False also where transformers raises."""
    try:
        with torch.set_grad_enabled(law == "checkpointing"):
            return MEASURES[law](model)
    except (ConfigError, NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError):
        return False
