"""Layouts of documents in rows, kept beside the token streams: ten million take some seconds."""

import json
from dataclasses import fields
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.batches.packing import Layout, Spans, lay_out
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.cache import building
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.messages import reason_of
from model_foundry.foundation.untrusted_files import require_regular_files

FORMAT = 1
WORTH_KEEPING = 200_000  # documents; fewer are laid out faster than read
SPANS, ROWS = [field.name for field in fields(Spans)], ["order", "row_ends"]


def kept_layout(
    stream: TokenStream,
    document_ends: NDArray[np.uint64],
    *,
    cache: Path,
    hashes: FileHashes,
    **settings: Any,
) -> Layout:
    """Return the layout of a stream, from the cache where it was made before.

    Args:
        document_ends: of the stream.
        settings: of `lay_out`.

    Raises:
        DataError: what the cache has is no layout.
    """
    make = partial(lay_out, document_ends, **settings)
    if stream.documents < WORTH_KEEPING:
        return make()
    facts = stream.facts
    cache_key = [FORMAT, facts.text_sha256, facts.tokens_sha256, settings]
    digest = sha256(json.dumps(cache_key, sort_keys=True).encode()).hexdigest()
    place = cache / "layouts" / digest[:32]
    with building(place, sha256_of=hashes) as missing:
        if missing:
            with commit_directory(place, sha256_of=hashes) as aside:
                _write(make(), aside)
    hashes.keep()
    return _read(place)


def _write(layout: Layout, directory: Path) -> None:
    for owner, names in ((layout.spans, SPANS), (layout, ROWS)):
        for name in names:
            np.save(directory / f"{name}.npy", getattr(owner, name), allow_pickle=False)


def _read(directory: Path) -> Layout:
    files = [f"{name}.npy" for name in (*SPANS, *ROWS)]
    require_regular_files(directory, *files, error=DataError)
    try:
        # np.load would open archives and look for pickles too
        arrays = [
            np.lib.format.open_memmap(directory / name, mode="r").view(np.ndarray) for name in files
        ]
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(
            f"{directory}: is no layout ({reason_of(error)}); remove it, and it is made again."
        ) from error
    return Layout(Spans(*arrays[: len(SPANS)]), *arrays[len(SPANS) :])
