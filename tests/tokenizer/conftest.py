"""A small varied corpus, difficult texts, and a trained tokenizer of each kind."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

ENGLISH = "the a quick brown fox jumps over lazy dogs while seven strange running runner runs"
OTHER = ["naïve", "café", "über", "Straße", "中文", "字", "слово", "λόγος", "42", "1999", "don't"]
WORDS = [*ENGLISH.split(" "), *OTHER, "<mask>", "<unk>", "[MASK]"]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "unigram": ("sentencepiece", {"vocab_size": 420}),
    "sentencepiece_bpe": ("sentencepiece", {"vocab_size": 420, "model_type": "bpe"}),
    "wordpiece": ("wordpiece", {"vocab_size": 200}),
    "bpe": ("bpe", {"vocab_size": 400}),
    "character": ("character", {"vocab_size": None}),
    "word": ("word", {"vocab_size": 60}),
}


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """300 documents of a few lines, with indents, tabs and blank lines."""
    draw = random.Random(0)

    def line() -> str:
        indent = draw.choice(["", "", "    ", "\t"])
        return indent + " ".join(draw.choices(WORDS, k=draw.randint(1, 12))) + draw.choice(".!?,")

    return [draw.choice(["\n", "\n\n"]).join(line() for _ in range(3)) for _ in range(300)]


@pytest.fixture(scope="session")
def odd_texts() -> list[str]:
    """Unusual Unicode and white space, and random strings."""
    fixed = [
        "",
        " ",
        "     ",
        "\n",
        "\t\n\r x",
        "the quick  brown   fox",
        "  leading and trailing  ",
        "line one\nline two\n\n\nline three\n",
        "windows\r\nline",
        "emoji 👩‍👩‍👧 and 🏳️‍🌈 flags 🇨🇭",
        "cafe\u0301 naïve ﬁne Å ①",
        "中文字 unseen 龍 日本語",
        "मानक हिन्दी עברית العربية ไทย",
        "<s> a </s> <pad><unk> <mask><mask> b",
        "x<s>y</s >z <s n=1> < s >",
        "[PAD] [UNK][CLS] x [SEP] [MASK]",
        "<0x41> <0x0A>",
        "\u00a0nbsp\u200bzero\u3000wide",
        "control \x00 \x01 \x7f",
        "a" * 150,
        "the " * 500,
        "\U0001d518\U0001d52b\U0001d526 vie\u0323\u0302t",
    ]
    draw = random.Random(1)
    alphabet = "abtheé <>s/[]MASK ü中文龍👩\u0301\u200d\t\n0x41 ①\u3000ﬁ"
    drawn = ["".join(draw.choices(alphabet, k=draw.randint(1, 30))) for _ in range(300)]
    return fixed + drawn


@pytest.fixture(scope="session")
def train(documents: list[str]) -> Callable[..., PreTrainedTokenizerFast]:
    """Train the tokenizer of a row of `KINDS` on `documents`; settings may be changed."""

    def call(kind: str, output_dir: Path | None = None, **changed: Any) -> PreTrainedTokenizerFast:
        tokenizer_type, options = KINDS[kind]
        settings = {"documents": documents, "output_dir": output_dir, **options, **changed}
        return TokenizerFactory.train(tokenizer_type, **settings)

    return call


@pytest.fixture(scope="session", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def all_tokenizers(
    train: Callable[..., PreTrainedTokenizerFast],
) -> dict[str, PreTrainedTokenizerFast]:
    return {kind: train(kind) for kind in KINDS}


@pytest.fixture
def tokenizer(
    kind: str, all_tokenizers: dict[str, PreTrainedTokenizerFast]
) -> PreTrainedTokenizerFast:
    return all_tokenizers[kind]
