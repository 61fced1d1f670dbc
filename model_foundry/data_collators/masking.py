"""Words and spans of words that a masked objective hides together.

Whole words after Cui et al. (2019, arXiv:1906.08101), spans after SpanBERT (Joshi et al. 2020,
arXiv:1907.10529). The replacements of hidden tokens are in `masked`.

Letters of shapes: B rows, N tokens in all of them, W words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.batches.examples import Examples
from model_foundry.data_collators.base import tokens_of

Masking = Literal["token", "word", "span"]

LONGEST_SPAN = 10  # words, as in SpanBERT
NOT_HIDDEN = -1


def _generator(*numbers: int) -> np.random.Generator:
    """Return `np.random.default_rng(numbers)`, without its slow conversion of lists."""
    small = max(numbers) < 2**32  # else a number is more than one word of entropy
    entropy = np.array(numbers, np.uint32) if small else numbers
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def row_generators(
    examples: Examples, seed: int, shared: np.random.Generator
) -> Iterator[tuple[np.random.Generator, slice]]:
    """Yield the generator of each row, which seed and key determine, and the slice of its tokens.

    Args:
        shared: the generator of rows without a key.
    """
    bounds = tokens_of(examples).bounds.tolist()
    for key, start, end in zip(examples.keys, bounds, bounds[1:], strict=False):
        yield shared if key is None else _generator(seed, *key), slice(start, end)


@dataclass(frozen=True)
class Words:
    """The words of some rows, without the tokens that must not be hidden."""

    of_token: NDArray[np.int64]
    """The index of the word of each token that may be hidden."""
    sizes: NDArray[np.int64]
    """(W,) tokens in each word."""
    is_adjacent: NDArray[np.bool_]
    """(W,) True if the word directly follows the previous one."""
    bounds: NDArray[np.int64]
    """(B + 1,) the first word of each row, and W."""


def find_words(
    word_starts: NDArray[np.bool_],
    *,
    maskable: NDArray[np.bool_],
    begins: NDArray[np.bool_],
    bounds: NDArray[np.int64],
) -> Words:
    """Find the words among the tokens that may be hidden.

    A word ends before the next one, with its document, and before a token that must not be hidden.
    The rest of a word that the edge of a row or of its context cuts is also a word: otherwise its
    tokens could never be hidden.

    Args:
        word_starts: (N,) True for tokens in which a word begins.
        maskable: (N,) True for tokens that may be hidden.
        begins: (N,) True for the first token of a row or a document.
        bounds: (B + 1,) first token of each row, and N.
    """
    broken = begins.copy()  # before this token
    broken[1:] |= ~maskable[:-1]
    first = maskable & (word_starts | broken)
    counted = first.cumsum()
    of_token = counted[maskable] - 1
    return Words(
        of_token=of_token,
        sizes=np.bincount(of_token),
        is_adjacent=~broken[first],
        bounds=np.append(0, counted)[bounds],
    )


def draw_words(number: int, share: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the group of each word, (W,): its own index if it is hidden, else -1.

    Each word has the same probability, so that the expected `share` of tokens is hidden, as with
    token masking. BERT's own code draws words until a budget is spent.
    """
    hidden = generator.random(number) < share
    return np.where(hidden, np.arange(number), NOT_HIDDEN)


def draw_spans(
    sizes: Sequence[int],
    is_adjacent: Sequence[bool],
    share: float,
    mean: float,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the group of each word, (W,): the index of the span that hides it, or -1.

    Spans begin at words drawn without replacement, and end early at a break or a hidden word, until
    `share` of the tokens is hidden. As in SpanBERT the budget cuts the last span: there within a
    word, here before the word that exceeds it, which is hidden with the probability that makes the
    expected share exact.

    Args:
        sizes: (W,) tokens in each word.
        is_adjacent: (W,) True if a word directly follows the previous one.
        share: share of all these tokens.
        mean: mean number of words in a span. Lengths are geometric with p = 1/mean and at most ten;
            SpanBERT's code draws from the truncated distribution instead.
    """
    number, budget = len(sizes), share * sum(sizes)
    firsts = generator.permutation(number).tolist()
    lengths = np.minimum(generator.geometric(1 / mean, number), LONGEST_SPAN).tolist()
    last = generator.random()
    spans = [NOT_HIDDEN] * number
    for span, (first, length) in enumerate(zip(firsts, lengths, strict=True)):
        for word in range(first, min(first + length, number)):
            if spans[word] != NOT_HIDDEN or (word > first and not is_adjacent[word]):
                break
            if sizes[word] > budget:
                if last * sizes[word] < budget:
                    spans[word] = span
                return np.array(spans, np.int64)
            spans[word] = span
            budget -= sizes[word]
    return np.array(spans, np.int64)
