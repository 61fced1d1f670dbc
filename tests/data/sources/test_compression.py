"""Compressed files are read completely or refused; files that change are refused."""

import lzma
import os
import zlib
from pathlib import Path

import pytest

from model_foundry.data.sources import compression
from model_foundry.data.sources.compression import opened, unpacked
from model_foundry.errors import DataError
from tests.data.sources.reading import PACKERS, read, refusal, write

TEXT = "".join(f"line {number * number}\n" for number in range(5000))


each_packer = pytest.mark.parametrize("suffix", PACKERS)


@each_packer
def test_a_packed_text_is_the_text(tmp_path: Path, suffix: str) -> None:
    pack = PACKERS[suffix]
    assert read(write(tmp_path / f"a.txt{suffix}", pack(TEXT.encode()))) == [TEXT]
    assert read(write(tmp_path / f"e.txt{suffix}", pack(b""))) == [""]
    joined = pack(b"one ") + pack(b"") + pack("zwö".encode())
    assert read(write(tmp_path / f"j.txt{suffix}", joined)) == ["one zwö"]


@each_packer
def test_a_damaged_compressed_file_is_refused(tmp_path: Path, suffix: str) -> None:
    raw = PACKERS[suffix](TEXT.encode())
    path = tmp_path / f"a.txt{suffix}"
    for damaged in (
        *(raw[: len(raw) // 2], raw[:-4], raw[:-1], b"", raw + b"and more", TEXT.encode()),
        *(raw[:3], raw + raw[:-1]),
    ):
        error = refusal(write(path, damaged))
        assert error.startswith(f"{path.name}: damaged, cut off or not packed as {suffix} (")
        assert error.endswith("); copy or download it again")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])  # the frames of pyarrow have no checksum
def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path, suffix: str) -> None:
    raw = bytearray(PACKERS[suffix](TEXT.encode()))
    place = -5 if suffix == ".gz" else len(raw) // 2  # the CRC itself
    raw[place] ^= 1
    assert "damaged, cut off or not packed" in refusal(write(tmp_path / f"a{suffix}", bytes(raw)))


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = write(tmp_path / f"bomb.txt{suffix}", PACKERS[suffix](b"\n" * 2**22))
    assert len(read(bomb)[0]) == 2**22  # little enough to do no harm
    monkeypatch.setattr(compression, "HARMLESS", 2**16)
    assert "bomb.txt" in refusal(bomb)
    assert "unpacks to more than 200 times its size, unlike any text" in refusal(bomb)
    assert read(write(tmp_path / f"a.txt{suffix}", PACKERS[suffix](TEXT.encode() * 8)))


def test_memory_that_a_file_asks_for_is_bounded(tmp_path: Path) -> None:
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]
    # the bound is what the header claims; to make such a file takes no less memory, so it is edited
    raw = bytearray(lzma.compress(b"x", filters=[greedy[0] | {"dict_size": 2**20}]))
    place = raw.index(bytes([lzma.FILTER_LZMA2, 1])) + 2
    raw[place] = 36  # 2**30 bytes
    header = raw[12 : 12 + (raw[12] + 1) * 4 - 4]
    raw[12 + len(header) : 16 + len(header)] = zlib.crc32(header).to_bytes(4, "little")
    assert "Memory usage limit" in refusal(write(tmp_path / "a.txt.xz", bytes(raw)))


@pytest.mark.parametrize("change", ["grow", "rewrite", "replace", "vanish"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "a.txt", "text")
    error = r"a\.txt: changed while it was read; start again once"
    with pytest.raises(DataError, match=error), opened(path) as file:
        assert b"".join(unpacked(file, "a.txt", None)) == b"text"
        if change == "grow":
            with path.open("a") as end:
                end.write(" and more")
        elif change == "rewrite":
            path.write_text("TEXT")
            os.utime(path, ns=(0, 0))
        elif change == "replace":
            write(tmp_path / "b.txt", "text").replace(path)
        else:
            path.unlink()


def test_a_change_is_reported_before_other_faults(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "text")
    with pytest.raises(DataError, match="changed while it was read"), opened(path):
        path.write_text("half a li")
        raise DataError("half a line")
    with pytest.raises(DataError, match="half a line"), opened(path):
        raise DataError("half a line")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "text")
    path.chmod(0)
    if os.geteuid() != 0:
        assert refusal(path) == "a.txt: cannot be read (Permission denied)"
    path.unlink()
    with pytest.raises(DataError, match=r"a\.txt: cannot be read \(No such file"), opened(path):
        raise AssertionError
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"a\.txt: is not a regular file"), opened(path):
        raise AssertionError
