"""Token streams in memory, their rows and their batches, for tests."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from model_foundry.data.batches.examples import Key
from model_foundry.data.batches.loaders import Collate
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.data.tokens.token_stream import Sharded, StreamFacts, TokenStream
from model_foundry.data_collators.text import AnyCollator, collate_text
from model_foundry.objectives import CausalLM
from tests.experiments import tiny_experiment

CAUSAL = CausalLM(tiny_experiment("gpt2", Path("nowhere")))


def stream_of(
    tokens: ArrayLike,
    num_bytes: ArrayLike = 0,
    words: ArrayLike = 0,
    *,
    ends: ArrayLike | None = None,
    digests: Sequence[int] = (),
    shards: int = 1,
) -> TokenStream:
    """Return a stream of these ids, by default one document, with bytes and words for each id."""
    ids = np.asarray(tokens, np.uint16)
    columns = [ids, *(np.broadcast_to(np.uint8(each), ids.shape) for each in (num_bytes, words))]
    document_ends = np.array([len(ids)] if ends is None else ends, np.uint64)
    return TokenStream(
        *(Sharded(np.array_split(column, shards)) for column in columns),
        document_ends=document_ends,
        document_digests=np.array(digests or range(len(document_ends)), np.uint64),
        facts=StreamFacts(
            text_sha256="",
            tokens_sha256="",
            bytes=int(columns[1].sum()),
            words=int(columns[2].sum()),
            lossless=True,
        ),
    )


def collating(collator: AnyCollator) -> Collate:
    """Return the collate function of a causal model, made with this collator."""
    return partial(collate_text, collator=collator, scored=CAUSAL.scored)


def row_of(examples: TokenExamples, key: Key, *, evaluating: bool = True) -> dict[str, Any]:
    """Return the columns of one row, and its counts by unit."""
    found = examples.read([key], evaluating=evaluating)
    return found.features()[0] | found.counts
