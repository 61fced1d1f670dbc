"""The text that a tokenizer is trained on: a split, or an even sample of a large one."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from model_foundry.data.corpus.splits import Split
from model_foundry.data.sources.text_batch import pieces

logger = logging.getLogger(__name__)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _share(texts: Iterable[str], limit: int) -> float:
    """Return the share of texts that has `limit` bytes."""
    share = limit / max(sum(map(_size, texts)), 1)
    if share < 1.0:
        logger.info(
            "the tokenizer is trained on %.1f%% of the text (tokenizer.training_bytes=%s)",
            *(100 * share, f"{limit:,}"),
        )
    return min(share, 1.0)


def sample_of(split: Split, limit: int | None, *, processes: int = 0) -> Iterator[str]:
    """Yield the text of a split in pieces, or pieces spread evenly over a long text.

    Args:
        limit: number of UTF-8 bytes at most, about; None: the whole text.

    Raises:
        DataError: there is no text.
    """
    share = 1.0
    if limit is not None:  # before interventions
        share = _share((batch.text for _, batch in split.numbered()), limit)
    texts = chain.from_iterable(each.parts() for each in pieces(split.texts(processes)))
    if (first := next(texts, None)) is None:
        raise split.empty_error()
    yield from _spread(chain([first], texts), share)


def sample_of_texts(texts: Sequence[str], limit: int | None) -> Iterator[str]:
    """Yield texts of which there are about `limit` UTF-8 bytes, spread evenly; None: all."""
    yield from _spread(texts, 1.0 if limit is None else _share(texts, limit))


def _spread(texts: Iterable[str], share: float) -> Iterator[str]:
    seen = kept = 0
    for text in texts:
        size = _size(text)
        seen += size
        if kept + size <= share * seen or share == 1.0 or not kept:
            kept += size
            yield text
