"""How many documents of a text stand in the training text as well."""

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.errors import SaveError
from model_foundry.foundation.atomic_files import write_text

STRETCH = 2**18  # documents that are looked up at once; more would leave the processor's cache
WORTH_KEEPING = 200_000  # documents; among fewer they are counted faster than read


def shared_documents(stream: TokenStream, training: TokenStream) -> int:
    """Count the documents of a stream that stand in the training stream as well."""
    own, among = np.sort(stream.document_digests), training.document_digests
    found = np.zeros(len(own), dtype=np.bool_)
    for first in range(0, len(among), STRETCH):
        part = among[first : first + STRETCH]
        places = np.searchsorted(own, part).clip(max=len(own) - 1)
        found[places[own[places] == part]] = True
    return int(found[np.searchsorted(own, own)].sum())  # equal ones share the first one's place


def kept_count(stream: TokenStream, training: TokenStream, *, cache: Path) -> int:
    """Count shared documents, once: the number is kept, unless the texts are small."""
    if training.documents + stream.documents < WORTH_KEEPING:
        return shared_documents(stream, training)
    both = f"{stream.text_sha256} {training.text_sha256}"
    place = cache / "shared" / f"{sha256(both.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, RecursionError):
        kept = json.loads(place.read_text(encoding="utf-8"))
        if isinstance(kept, int) and not isinstance(kept, bool) and kept >= 0:
            return kept
    count = shared_documents(stream, training)
    with suppress(OSError, SaveError):  # a cache may be read-only
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, f"{count}\n")
    return count
