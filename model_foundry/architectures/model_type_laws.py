"""Laws of the model types of transformers, as measured with random weights on a CPU.

`tests/architectures/test_model_types.py` measures them and holds this table to it. A type that is
not in it has not been measured.
"""

from typing import Final

from model_foundry.errors import ConfigError

LAWS: Final = {
    "causality": "a token changes no output before it",
    "padding_right": "padding after a text changes none of its outputs",
    "padding_left": "padding before a text changes none of its outputs",
    "batches": "a row of a batch gives the same alone",
    "cache": "transformers generates with a cache what the model predicts from whole texts",
    "saving": "a saved model gives the same outputs in transformers",
    "tying": "tie_word_embeddings=true makes one matrix of those of input and output",
    "resizing": "another vocabulary size keeps the outputs of the tokens that stay",
    "checkpointing": "gradient checkpointing gives the same gradients",
    "documents": "a packed document gives the same as alone",
}
MEASURED_WITH: Final = "5.23.0"
"""Version of transformers."""

# Laws that do not hold for a type with a head.
BROKEN: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("albert", "masked"): frozenset({"checkpointing"}),
    ("bart", "seq2seq"): frozenset({"padding_left"}),
    ("bert", "causal"): frozenset(),
    ("bert", "masked"): frozenset(),
    ("bloom", "causal"): frozenset({"documents"}),
    ("deberta-v2", "masked"): frozenset({"documents"}),
    ("distilbert", "masked"): frozenset(),
    ("electra", "causal"): frozenset(),
    ("electra", "masked"): frozenset(),
    ("gemma2", "causal"): frozenset(),
    ("gemma3_text", "causal"): frozenset(),
    ("gpt2", "causal"): frozenset(),
    ("gpt_neo", "causal"): frozenset(),
    ("gpt_neox", "causal"): frozenset(),
    ("lfm2", "causal"): frozenset({"documents"}),
    ("llama", "causal"): frozenset(),
    ("mamba", "causal"): frozenset({"documents"}),
    ("mamba2", "causal"): frozenset({"documents"}),
    ("marian", "seq2seq"): frozenset({"padding_left"}),
    ("mbart", "seq2seq"): frozenset({"padding_left"}),
    ("mistral", "causal"): frozenset(),
    ("modernbert", "masked"): frozenset({"documents"}),
    ("modernbert-decoder", "causal"): frozenset(),
    ("mt5", "seq2seq"): frozenset(),
    ("opt", "causal"): frozenset(),
    ("pegasus", "seq2seq"): frozenset({"padding_left"}),
    ("qwen3", "causal"): frozenset(),
    ("qwen3_next", "causal"): frozenset({"documents"}),
    ("recurrent_gemma", "causal"): frozenset({"padding_left", "documents"}),
    # transformers' generate numbers its tokens from 0, and not from the id of padding plus one
    ("roberta", "causal"): frozenset({"cache"}),
    ("roberta", "masked"): frozenset(),
    ("rwkv", "causal"): frozenset({"padding_left", "cache", "documents"}),
    ("t5", "seq2seq"): frozenset({"tying"}),
    ("xlstm", "causal"): frozenset({"padding_left", "tying", "resizing", "documents"}),
}


def holds(law: str, model_type: str, head: str) -> bool:
    """Return True if a law is known to hold for a type."""
    return law not in BROKEN.get((model_type, head), LAWS)


def require_law(law: str, model_type: str, head: str, *, field: str, remedy: str) -> None:
    """Raise a `ConfigError` unless a law is known to hold for a type.

    Args:
        field: the setting that needs it, with its value.
    """
    if not holds(law, model_type, head):
        known = "does not hold" if (model_type, head) in BROKEN else "has not been measured"
        raise ConfigError(
            f"{field} needs the law {law!r} ({LAWS[law]}), which {known} for "
            f"model_type {model_type!r}; {remedy}"
        )
