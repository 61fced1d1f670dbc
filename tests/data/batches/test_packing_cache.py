"""Layouts that are kept are those that were made, and are made once."""

from pathlib import Path

import numpy as np
import pytest

from model_foundry.data.batches import packing_cache
from model_foundry.data.batches.packing import Layout, lay_out
from model_foundry.data.batches.packing_cache import ROWS, SPANS, kept_layout
from model_foundry.data.tokens.token_stream import Sharded, StreamFacts, TokenStream
from model_foundry.errors import DataError
from model_foundry.foundation.file_hashes import FileHashes

SETTINGS = {"length": 8, "overlap": 2, "before": 1, "after": 1, "framed": (False, True)}
ENDS = np.cumsum([3, 20, 1, 7, 12, 5]).astype(np.uint64)


def stream(tokens_sha256: str = "a") -> TokenStream:
    tokens = Sharded([np.arange(int(ENDS[-1]), dtype=np.uint16)])
    facts = StreamFacts(
        text_sha256="t", tokens_sha256=tokens_sha256, bytes=0, words=0, lossless=True
    )
    return TokenStream(tokens, tokens, tokens, ENDS, ENDS, facts)


@pytest.fixture(autouse=True)
def _few_are_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_cache, "WORTH_KEEPING", len(ENDS))


def kept(cache: Path, of: TokenStream | None = None, **changed: object) -> Layout:
    return kept_layout(
        of or stream(), ENDS, cache=cache, hashes=FileHashes(cache), **{**SETTINGS, **changed}
    )


def same(one: Layout, other: Layout) -> bool:
    pairs = [(getattr(one.spans, name), getattr(other.spans, name)) for name in SPANS]
    pairs += [(getattr(one, name), getattr(other, name)) for name in ROWS]
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_what_is_kept_is_what_was_made(tmp_path: Path) -> None:
    made = lay_out(ENDS, **SETTINGS)
    assert same(kept(tmp_path), made)
    assert same(kept(tmp_path), made)


def test_a_layout_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(packing_cache, "lay_out", refuse)
    kept(tmp_path)
    for others in ({"overlap": 3}, {"of": stream("b")}):
        with pytest.raises(AssertionError, match="made again"):
            kept(tmp_path, **others)  # type: ignore[arg-type]


def test_few_documents_are_not_worth_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing_cache, "WORTH_KEEPING", len(ENDS) + 1)
    kept(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_no_layout_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path)
    (place,) = (p for p in (tmp_path / "layouts").iterdir() if p.is_dir())
    (place / "order.npy").write_bytes(b"PK something else")
    monkeypatch.setattr("model_foundry.foundation.cache.find_damage", lambda *_, **__: None)
    with pytest.raises(DataError, match=r"is no layout .*; remove it"):
        kept(tmp_path)
