"""Documents of a text that are also in the training text."""

import numpy as np

from model_foundry.data.tokens.token_stream import TokenStream

STRETCH = 2**18  # documents that are looked up at once; more would not fit into the CPU's cache


def shared_documents(stream: TokenStream, training: TokenStream) -> int:
    """Count the documents of a stream that are also in the training stream."""
    own, among = np.sort(stream.document_digests), training.document_digests
    found = np.zeros(len(own), dtype=np.bool_)
    for first in range(0, len(among), STRETCH):
        part = among[first : first + STRETCH]
        places = np.searchsorted(own, part).clip(max=len(own) - 1)
        found[places[own[places] == part]] = True
    return int(found[np.searchsorted(own, own)].sum())  # duplicates share the first place
