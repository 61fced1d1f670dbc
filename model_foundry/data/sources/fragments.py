"""Documents one by one, as fragments: for the formats that are read in this manner."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from model_foundry.data.sources.text_batch import TextBatch

FRAGMENT = 2**20  # characters in a fragment of a long document, and in a batch, about


class Fragment(NamedTuple):
    """A part of a document's text."""

    text: str
    ends: bool = True
    """True if the document ends with this part."""


def _joined(fragments: list[Fragment]) -> TextBatch:
    batch = TextBatch.of([text for text, _ in fragments])
    return TextBatch(batch.text, batch.ends[np.array([ends for _, ends in fragments], np.bool_)])


def in_text_batches(fragments: Iterable[Fragment]) -> Iterator[TextBatch]:
    """Join the fragments to batches of about `FRAGMENT` characters."""
    held: list[Fragment] = []
    size = 0
    for fragment in fragments:
        held.append(fragment)
        size += len(fragment.text) + 16  # the overhead of a short one
        if size >= FRAGMENT:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)
