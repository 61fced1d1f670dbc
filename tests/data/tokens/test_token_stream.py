"""Streams on disk: shards read as one array, and invalid streams refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_foundry.data.tokens.token_stream import (
    ARRAYS,
    Sharded,
    StreamFacts,
    read_stream,
    shard_names,
    write_facts,
)
from model_foundry.errors import DataError

FACTS = StreamFacts(
    text_sha256="0" * 64,
    tokens_sha256="1" * 64,
    bytes=20,
    words=4,
    lossless=True,
    left_out={"blank documents": 2},
    replaced=1,
    interventions=[{"step": "lowercase"}],
)


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1], [4, 0, 7], [0, 3], [3, 0], [2, 9, 4]])
def test_a_slice_across_shards_is_that_of_the_joined_array(sizes: list[int]) -> None:
    draw = np.random.default_rng(0)
    types = [np.uint8, np.uint16, np.uint8]
    shards = [draw.integers(0, 200, n).astype(types[at % 3]) for at, n in enumerate(sizes)]
    joined, sharded = np.concatenate(shards), Sharded(shards)
    assert len(sharded) == len(joined)
    assert np.array_equal(np.asarray(sharded), joined)
    places = [*range(-len(joined) - 2, len(joined) + 3), None]
    for start in places:
        for stop in places:
            part = sharded[start:stop]
            assert np.array_equal(part, joined[start:stop]), (start, stop)
            assert part.dtype.kind == "u"


def test_a_stretch_of_one_shard_is_a_view() -> None:
    shards = [np.arange(5, dtype=np.uint16), np.arange(5, 9, dtype=np.uint16)]
    sharded = Sharded(shards)
    for part, shard in ((sharded[1:4], shards[0]), (sharded[6:9], shards[1])):
        assert np.shares_memory(part, shard)


def test_an_array_can_be_converted() -> None:
    sharded = Sharded([np.array([1, 2], np.uint8), np.array([300], np.uint16)])
    assert np.asarray(sharded, dtype=np.float32).dtype == np.float32
    assert np.asarray(sharded).tolist() == [1, 2, 300]


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_facts(tmp_path, FACTS)
    assert StreamFacts.from_json(json.loads((tmp_path / "stream.json").read_text())) == FACTS


@pytest.mark.parametrize(
    "change",
    [{"bytes": "20"}, {"words": None}, {"text_sha256": 1}, {"left_out": {"x": "y"}}, {"more": 1}],
)
def test_facts_of_another_kind_are_refused(change: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        StreamFacts.from_json(FACTS.as_json() | change)


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """Write a stream of three documents in two shards."""
    for shard, size in enumerate((6, 3)):
        for name in ARRAYS:
            np.save(tmp_path / f"{name}-{shard:05d}.npy", np.arange(size, dtype=np.uint16))
    np.save(tmp_path / "document_ends.npy", np.array([2, 7, 9], np.uint64))
    np.save(tmp_path / "document_digests.npy", np.array([1, 2, 3], np.uint64))
    write_facts(tmp_path, FACTS)
    return tmp_path


def test_a_stream_is_mapped_and_not_loaded(stream: Path) -> None:
    found = read_stream(stream)
    assert (len(found), found.documents, found.bytes, found.words) == (9, 3, 20, 4)
    assert np.asarray(found.tokens).tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert found.document_ends.tolist() == [2, 7, 9]
    assert found.text_sha256 == FACTS.text_sha256 and found.facts == FACTS
    base = found.tokens[0:3]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert shard_names(stream)[1] == [f"{name}-00001.npy" for name in ARRAYS]


def save(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda directory: np.save(directory / name, array)


@pytest.mark.parametrize(
    "change",
    [
        save("tokens-00001.npy", np.arange(4, dtype=np.uint16)),
        save("num_words-00000.npy", np.arange(6, dtype=np.int64)),
        save("num_bytes-00000.npy", np.ones((6, 1), dtype=np.uint8)),
        save("document_ends.npy", np.array([2, 7, 8], np.uint64)),
        save("document_ends.npy", np.array([2, 2, 9], np.uint64)),
        save("document_ends.npy", np.array([2, 9], np.uint64)),
        save("document_ends.npy", np.array([], np.uint64)),
        save("document_digests.npy", np.array([1.0, 2, 3])),
        lambda directory: (directory / "num_words-00001.npy").unlink(),
        lambda directory: [path.unlink() for path in directory.glob("tokens-*")],
        lambda directory: (directory / "tokens-00000.npy").write_bytes(b""),
        lambda directory: (directory / "tokens-00000.npy").write_bytes(b"\x93NUMPY\x01\x00"),
        lambda directory: (directory / "stream.json").write_text("{}"),
        lambda directory: (directory / "stream.json").write_text("[]"),
        lambda directory: (directory / "stream.json").unlink(),
    ],
)
def test_an_invalid_stream_is_refused(change: Callable[[Path], None], stream: Path) -> None:
    change(stream)
    with pytest.raises(DataError, match=r"remove .*run the command again") as caught:
        read_stream(stream)
    assert str(stream) in str(caught.value) and "\n" not in str(caught.value)
