"""Token streams in memory, for tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from model_foundry.data.tokens.token_stream import Sharded, StreamFacts, TokenStream


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
