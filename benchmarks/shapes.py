"""Shapes of the timed models: sizes, cost of a token, and settings of `foundry`.

s is nanoGPT's recipe for a CPU; m is as large as a laptop trains in an evening. No dropout.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

GATES: Final = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One model and the batches that it reads."""

    name: str
    architecture: str
    layers: int
    width: int
    """Of the residual stream or the state, and of the embeddings."""
    block: int
    """Tokens in a row."""
    batch: int
    """Rows in a step."""
    vocabulary: int
    heads: int = 0
    """Attention heads; 0: a recurrent model."""
    steps: int
    """Optimizer steps of one tick, about a second of work."""

    @property
    def tokens_per_step(self) -> int:
        """Tokens read in one optimizer step."""
        return self.batch * self.block

    @property
    def is_masked(self) -> bool:
        """True: hidden tokens are predicted; False: the next one."""
        return self.architecture == "bert"

    @property
    def body(self) -> int:
        """Weights of the layers."""
        square = self.width * self.width
        if self.heads:
            return 12 * self.layers * square + (square if self.is_masked else 0)
        return 2 * self.layers * GATES[self.architecture] * square

    @property
    def weights(self) -> int:
        """Weights that multiply each token: layers and output matrix, without the embeddings."""
        return self.body + self.vocabulary * self.width

    @property
    def flops_per_token(self) -> int:
        """Operations of a training step for each token, all logits counted.

        6 N for the weights (Kaplan et al. 2020, arXiv:2001.08361), and 12 L D T for attention.
        """
        attention = 12 * self.layers * self.width * self.block if self.heads else 0
        return 6 * self.weights + attention

    @property
    def product(self) -> tuple[int, int, int]:
        """(M, K, N) of the product with most work, (M, K) by (K, N): in a layer, or the output."""
        layer = (4 if self.heads else GATES[self.architecture]) * self.width
        columns = layer if self.body >= self.vocabulary * self.width else self.vocabulary
        return self.tokens_per_step, self.width, columns

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON, as `Shape(**...)` takes them."""
        return asdict(self)


def _gpt2(name: str, *, layers: int, width: int, **sizes: int) -> Shape:
    heads = sizes.pop("heads")
    return Shape(name=name, architecture="gpt2", layers=layers, width=width, heads=heads, **sizes)


def _recurrent(architecture: str, vocabulary: int, *, steps: int) -> Shape:
    name = f"{architecture} 256/{vocabulary}"
    sizes = {"layers": 2, "width": 256, "block": 64, "batch": 16, "vocabulary": vocabulary}
    return Shape(name=name, architecture=architecture, steps=steps, **sizes)


SMALL: Final = _gpt2(
    "gpt2 s", layers=4, width=128, heads=4, block=64, batch=12, vocabulary=65, steps=25
)
MEDIUM: Final = _gpt2(
    "gpt2 m", layers=6, width=384, heads=6, block=256, batch=8, vocabulary=8192, steps=2
)
BERT: Final = replace(MEDIUM, name="bert", architecture="bert", block=128, batch=16)
SHAPES: Final = {
    shape.name: shape
    for shape in (
        SMALL,
        MEDIUM,
        BERT,
        _recurrent("lstm", 8192, steps=8),
        _recurrent("gru", 8192, steps=8),
        _recurrent("rnn", 8192, steps=8),
        _recurrent("lstm", 65, steps=30),
    )
}
GPU_SHAPES: Final = {
    shape.name: shape
    for shape in (
        _gpt2(
            "gpt2 124M",
            layers=12,
            width=768,
            heads=12,
            block=1024,
            batch=16,
            vocabulary=32_000,
            steps=10,
        ),
        replace(_recurrent("lstm", 32_000, steps=20), name="lstm 1024/32000", width=1024, batch=64),
    )
}


def toy(shape: Shape) -> Shape:
    """Return a tiny shape of the same kind; its figures mean nothing."""
    heads = 2 if shape.heads else 0
    return replace(
        shape, layers=1, width=16, heads=heads, block=16, batch=2, vocabulary=40, steps=2
    )


def experiment(shape: Shape, directory: Path) -> dict[str, Any]:
    """Return the experiment file of a shape, with corpus and cache in a directory.

    It logs once a tick, runs practically forever, and neither evaluates nor saves.
    """
    section: dict[str, Any] = {"dropout": 0.0, "hidden_size": shape.width}
    if shape.heads:
        section |= {"layers": shape.layers, "attention_heads": shape.heads}
        section["attention_dropout"] = 0.0
    else:
        section |= {"num_layers": shape.layers, "embedding_size": shape.width}
    return {
        "experiment_name": "benchmark",
        "data": {
            "train": str(directory / "corpus.txt"),
            "split_by": "position",
            "validation_fraction": 0.01,
            "max_sequence_length": shape.block,
            "cache_dir": str(directory / "cache"),
        },
        "tokenizer": {"tokenizer_type": "word", "vocab_size": shape.vocabulary},
        "model": {
            "architecture": shape.architecture,
            "transformer" if shape.heads else "rnn": section,
        },
        "training": {
            "objective": "masked_lm" if shape.is_masked else "causal_lm",
            "max_steps": 1_000_000,
            "per_device_train_batch_size": shape.batch,
            "learning_rate": 1e-4,
            "logging_steps": shape.steps,
        },
    }
