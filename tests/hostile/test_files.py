"""Pickles, pipes and links in place of files: no code of theirs runs, nothing else is opened."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_foundry.errors import DataError
from model_foundry.model import load_model
from model_foundry.tokenizer.loading import copy_tokenizer, load_tokenizer
from tests.hostile.directories import FILES, KINDS, refusal


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_as_it_was_saved_is_loaded(kind: str, fresh: Callable[[str], Path]) -> None:
    assert KINDS[kind].load(fresh(kind)) is not None


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sentinel,)


def as_pickle(payload: Payload) -> bytes:
    return pickle.dumps(payload)


def as_torch(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save({"transformer.wte.weight": payload}, buffer)
    return buffer.getvalue()


def as_numpy(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([payload], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def as_archive(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, tokens=np.array([payload], dtype=object))
    return buffer.getvalue()


PAYLOADS = [as_pickle, as_torch, as_numpy, as_archive]


@pytest.mark.parametrize("wrap", PAYLOADS)
def test_the_payload_is_real(wrap: Callable[[Payload], bytes], tmp_path: Path) -> None:
    data = io.BytesIO(wrap(Payload(tmp_path / "ran")))
    if wrap is as_torch:
        torch.load(data, weights_only=False)
    elif wrap is as_pickle:
        pickle.loads(data.getvalue())
    else:
        loaded = np.load(data, allow_pickle=True)
        _ = loaded["tokens"] if wrap is as_archive else loaded
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrap", PAYLOADS)
@pytest.mark.parametrize(("kind", "file", "read"), FILES)
def test_a_pickle_in_place_of_a_file_never_runs(
    kind: str,
    file: str,
    read: bool,
    wrap: Callable[[Payload], bytes],
    fresh: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    directory, sentinel = fresh(kind), tmp_path / "ran"
    (directory / file).write_bytes(wrap(Payload(sentinel)))
    if read:
        assert file in refusal(kind, directory) or kind in ("tokenizer", "token cache")
    else:
        KINDS[kind].load(directory)
    assert not sentinel.exists()


@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_pickled_weights_alone_are_no_weights(
    kind: str, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = fresh(kind)
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(as_torch(Payload(tmp_path / "ran")))
    assert "pickled weights are not read" in refusal(kind, directory)
    assert not (tmp_path / "ran").exists()


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()


def link(path: Path, original: Path) -> None:
    """Lead to a file outside that would be loaded."""
    outside = path.parent.parent / "outside"
    outside.write_bytes(original.read_bytes() if original.exists() else b"{}")
    path.symlink_to(outside)


def endless(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path, _: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("put", [pipe, folder, link, endless, loop])
@pytest.mark.parametrize(("kind", "file"), [(kind, file) for kind, file, read in FILES if read])
def test_only_regular_files_of_the_directory_are_opened(
    kind: str,
    file: str,
    put: Callable[[Path, Path], None],
    fresh: Callable[[str], Path],
    originals: dict[str, Path],
) -> None:
    directory = fresh(kind)
    (directory / file).unlink(missing_ok=True)
    put(directory / file, originals[kind] / file)
    assert file in refusal(kind, directory)


def test_a_link_within_the_directory_is_followed(fresh: Callable[[str], Path]) -> None:
    directory = fresh("transformer")
    (directory / "model.safetensors").rename(directory / "weights")
    (directory / "model.safetensors").symlink_to("weights")
    load_model(directory)


@pytest.mark.parametrize("file", ["tokenizer.model", "config.json", "chat_template.jinja"])
@pytest.mark.parametrize("put", [pipe, link])
def test_a_tokenizer_is_not_copied_from_elsewhere(
    file: str,
    put: Callable[[Path, Path], None],
    fresh: Callable[[str], Path],
    originals: dict[str, Path],
    tmp_path: Path,
) -> None:
    directory = fresh("tokenizer")
    (directory / file).unlink(missing_ok=True)
    put(directory / file, originals["tokenizer"] / file)
    refusal("tokenizer", directory)
    with pytest.raises(DataError, match=file):
        copy_tokenizer(directory, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_only_files_of_a_tokenizer_are_copied(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    directory = fresh("tokenizer")
    for stray in ("evil.py", "model.safetensors", "tokenizer.pkl"):
        (directory / stray).write_bytes(b"")
    copy_tokenizer(directory, tmp_path / "copy")
    copied = {path.name for path in (tmp_path / "copy").iterdir()}
    assert copied == {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "manifest.json"}
    assert load_tokenizer(tmp_path / "copy")("a cat") == load_tokenizer(directory)("a cat")
