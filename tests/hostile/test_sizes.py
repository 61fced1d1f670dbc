"""Headers, sizes, types and JSON that are lies are refused, in bounded time and memory."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.hostile.directories import JSON_FILES, bounded, change, refusal


def header(content: dict[str, Any], data: bytes = b"", *, length: int | None = None) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


SAFETENSORS = {
    "empty": b"",
    "seven bytes": b"1234567",
    "header of 2^63 bytes": header({}, length=2**63),
    "header of 2^64 - 1 bytes": header({}, length=2**64 - 1),
    "header of 99 MB that is not there": header({}, length=99_000_000),
    "no tensor": header({}),
    "nested header": struct.pack("<Q", 10_000_000) + b"[" * 10_000_000,
    "tensor of 2^60 numbers": header(tensor([2**60], [0, 2**62])),
    "overflowing shape": header(tensor([2**40, 2**40], [0, 4]), b"0000"),
    "offsets turned round": header(tensor([1], [4, 0]), b"0000"),
    "data cut off": header(tensor([9], [0, 36]), b"0000"),
    "unknown type": header(tensor([1], [0, 4], "PICKLE"), b"0000"),
    "many tensors": header(
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("content", SAFETENSORS)
@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_weights_that_lie_are_refused_at_once(
    kind: str, content: str, fresh: Callable[[str], Path]
) -> None:
    directory = fresh(kind)
    (directory / "model.safetensors").write_bytes(SAFETENSORS[content])
    with bounded():
        refusal(kind, directory)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.uint8])
@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_weights_that_are_no_real_numbers_are_refused(
    kind: str, dtype: torch.dtype, fresh: Callable[[str], Path]
) -> None:
    directory = fresh(kind)
    path = directory / "model.safetensors"
    tensors = {name: value.to(dtype) for name, value in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert "floating-point" in refusal(kind, directory)


@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_weights_of_other_shapes_are_refused(kind: str, fresh: Callable[[str], Path]) -> None:
    directory = fresh(kind)
    path = directory / "model.safetensors"
    tensors = {
        name: torch.zeros(value.shape[0] + 1, *value.shape[1:])
        for name, value in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    refusal(kind, directory)


def test_no_memory_is_taken_for_weights_that_are_missing(fresh: Callable[[str], Path]) -> None:
    directory = fresh("transformer")
    path = directory / "model.safetensors"
    tensors = {name: value for name, value in load_file(path).items() if "wpe" not in name}
    save_file(tensors, path, metadata={"format": "pt"})
    change(directory / "config.json", n_positions=40_000_000)  # 1.3 GB
    with bounded():
        assert "too few for the" in refusal("transformer", directory)


def test_names_of_weights_stay_on_one_line(fresh: Callable[[str], Path]) -> None:
    directory = fresh("transformer")
    path = directory / "model.safetensors"
    stray = {"a\nb": torch.zeros(1), "\x1b[2J": torch.zeros(1), "c" * 9000: torch.zeros(1)}
    save_file(load_file(path) | stray, path, metadata={"format": "pt"})
    assert "unexpected keys" in refusal("transformer", directory)


JSON = {
    "nested lists": b"[" * 10_000_000,
    "nested objects": b'{"a":' * 2_000_000,
    "a long number": b'{"vocab_size": ' + b"9" * 1_000_000 + b"}",
    "another encoding": "{}".encode("utf-16"),
    "a list": b"[1]",
    "nothing": b"",
}


@pytest.mark.parametrize("content", JSON)
@pytest.mark.parametrize(("kind", "file"), JSON_FILES)
def test_json_that_is_none_is_refused_at_once(
    kind: str, file: str, content: str, fresh: Callable[[str], Path]
) -> None:
    directory = fresh(kind)
    (directory / file).write_bytes(JSON[content])
    with bounded():
        refusal(kind, directory)


@pytest.mark.parametrize(("kind", "file"), JSON_FILES)
def test_huge_json_is_not_even_read(kind: str, file: str, fresh: Callable[[str], Path]) -> None:
    directory = fresh(kind)
    with (directory / file).open("ab") as opened:
        opened.truncate(2**40)  # a hole takes no room
    with bounded():
        assert "larger than" in refusal(kind, directory)


def test_a_stream_whose_arrays_differ_is_refused(fresh: Callable[[str], Path]) -> None:
    directory = fresh("token cache")
    for wrong in (
        np.arange(5, dtype=np.uint16),
        np.arange(9, dtype=np.float32),
        np.arange(9, dtype=np.int64),
        np.zeros((9, 1), np.uint16),
        np.array(3, np.uint16),
    ):
        np.save(directory / "num_words-00000.npy", wrong)
        assert "is not a token stream" in refusal("token cache", directory)
