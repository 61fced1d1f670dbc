"""Tokens and rows as readable text, unescaped: the caller escapes what it prints."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from transformers import PreTrainedTokenizerBase

from model_foundry.data.batches.loaders import Collate
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.data.tokens.text_bytes import NO_TEXT, bytes_of_ids
from model_foundry.data_collators.base import values_of

BORDER = " ┃ "  # between documents of a row that do not see each other
SPACE = "␣"


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """A row as the model reads it in the first pass."""

    index: int
    tokens: int
    """Tokens that the model reads."""
    text: str
    """Text with special tokens, and with `BORDER` between documents that share the row."""


def sample_rows(
    rows: TokenExamples, tokenizer: PreTrainedTokenizerBase, collate: Collate, *, number: int = 10
) -> list[SampleRow]:
    """Decode rows that are spread evenly over all of them."""
    chosen = np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(int)
    return [_sample(rows, int(index), tokenizer, collate) for index in chosen]


def _sample(
    rows: TokenExamples, index: int, tokenizer: PreTrainedTokenizerBase, collate: Collate
) -> SampleRow:
    row = rows.read([(0, index)])
    ids = collate(row)["input_ids"][0].tolist()
    documents = values_of(row, "document_ids")
    documents = np.zeros(len(ids), int) if documents is None else documents
    changes = np.flatnonzero(np.diff(documents)) + 1
    parts = [ids[a:b] for a, b in pairwise([0, *changes.tolist(), len(ids)])]
    texts = [
        tokenizer.decode(part, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for part in parts
    ]
    return SampleRow(index=index, tokens=len(ids), text=BORDER.join(texts))


def texts_of(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the text of tokens with visible spaces, or their names if the text is unknown."""
    table = bytes_of_ids(tokenizer)
    names = tokenizer.convert_ids_to_tokens(ids)
    if table is None:
        return list(names)
    known = (table[index] for index in ids)
    return [
        name if text == NO_TEXT else text.decode(errors="backslashreplace").replace(" ", SPACE)
        for text, name in zip(known, names, strict=True)
    ]
