"""What a masked objective hides together: words, or spans of words.

Whole words after Cui et al. (2019, arXiv:1906.08101), spans after SpanBERT (Joshi et al. 2020,
arXiv:1907.10529). What is put in the place of hidden tokens stands in `masked`.

Letters of shapes: W words of a row.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Masking = Literal["token", "word", "span"]

LONGEST_SPAN = 10  # words, as in SpanBERT
NOT_HIDDEN = -1


def draw_words(number: int, share: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the group of each word, (W,): its own number where it is hidden, else -1.

    Each word has the same chance, so that `share` of the tokens is hidden in expectation, as under
    token masking. BERT's own code draws words until a budget is spent.
    """
    hidden = generator.random(number) < share
    return np.where(hidden, np.arange(number), NOT_HIDDEN)


def draw_spans(
    sizes: Sequence[int],
    goes_on: Sequence[bool],
    share: float,
    mean: float,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the group of each word, (W,): the number of the span that hides it, or -1.

    Spans begin at words drawn without replacement, and end early at a break or a hidden word, until
    `share` of the tokens is hidden. As in SpanBERT the budget cuts the last span: there within a
    word, here before the word that crosses it, which is still hidden so often that the expected
    share is exact.

    Args:
        sizes: (W,) tokens in each word.
        goes_on: (W,) whether nothing stands between a word and the one before.
        share: of all these tokens.
        mean: words in a span. Lengths are geometric with p = 1/mean; those over ten become ten,
            where SpanBERT's code draws from the rest of the distribution instead.
    """
    number, budget = len(sizes), share * sum(sizes)
    firsts = generator.permutation(number).tolist()
    lengths = np.minimum(generator.geometric(1 / mean, number), LONGEST_SPAN).tolist()
    last = generator.random()
    spans = [NOT_HIDDEN] * number
    for span, (first, length) in enumerate(zip(firsts, lengths, strict=True)):
        for word in range(first, min(first + length, number)):
            if spans[word] != NOT_HIDDEN or (word > first and not goes_on[word]):
                break
            if sizes[word] > budget:
                if last * sizes[word] < budget:
                    spans[word] = span
                return np.array(spans, np.int64)
            spans[word] = span
            budget -= sizes[word]
    return np.array(spans, np.int64)
