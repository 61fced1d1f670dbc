"""Files as a source: the same corpus in every format, its key, and bounded memory."""

import csv
import hashlib
import json
import signal
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_foundry.data.sources.base import Reading
from model_foundry.data.sources.files import open_files
from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.errors import DataError, Interrupted
from model_foundry.foundation.interrupts import handle_signals, stop_requested
from tests.data.sources.reading import DEFAULTS, PACKERS, read, refusal, source_of, write
from tests.waiting import wait_until

TEXTS = [f"sentence {number} ö€𝄞 \u2028 of \x85 many" for number in range(500)]


def write_table(path: Path, dialect: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, dialect)
        writer.writerows([["id", "text"], *enumerate(TEXTS)])


def write_arrow(path: Path) -> None:
    table = pa.table({"text": TEXTS})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=99)


ROWS = [{"text": text, "n": number} for number, text in enumerate(TEXTS)]
WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.txt": lambda path: write(path, "\n".join(TEXTS) + "\n"),
    "a.jsonl": lambda path: write(path, "\n".join(map(json.dumps, ROWS))),
    "a.ndjson": lambda path: write(path, "\r\n".join(map(json.dumps, ROWS))),
    "a.json": lambda path: write(path, json.dumps(ROWS, indent=1, ensure_ascii=False)),
    "a.csv": lambda path: write_table(path, "excel"),
    "a.tsv": lambda path: write_table(path, "excel-tab"),
    "a.parquet": lambda path: pq.write_table(pa.table({"text": TEXTS}), path),
    "a.arrow": write_arrow,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_corpus(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    assert read(path, document="line") == TEXTS
    if path.suffix in (".parquet", ".arrow"):
        return
    for suffix, pack in PACKERS.items():
        packed = write(tmp_path / f"{name}{suffix}", pack(path.read_bytes()))
        assert read(packed, document="line") == TEXTS


def test_a_folder_may_hold_files_of_all_kinds(tmp_path: Path) -> None:
    for name, put in WRITERS.items():
        put(tmp_path / name)
    assert read(tmp_path, document="line") == TEXTS * len(WRITERS)


@pytest.mark.parametrize(
    ("name", "builder"),
    [
        ("a.jsonl", "json"),
        ("a.csv", "csv"),
        ("a.parquet", "parquet"),
        ("a.arrow", "arrow"),
        ("a.txt", "text"),
    ],
)
def test_datasets_reads_the_same(tmp_path: Path, name: str, builder: str) -> None:
    datasets = pytest.importorskip("datasets")
    WRITERS[name](tmp_path / name)
    files, cache = str(tmp_path / name), str(tmp_path / "cache")
    datasets.disable_progress_bars()
    theirs = datasets.load_dataset(builder, data_files=files, split="train", cache_dir=cache)
    assert read(tmp_path / name, document="line") == list(theirs["text"])


# --- memory ---------------------------------------------------------------------------------------


def generated(path: Path, size: int) -> None:
    """Write a file in parts: text without a line end, or rows."""
    row = "words of a row " * 600
    pieces = {
        ".txt": row,
        ".jsonl": json.dumps({"text": row}) + "\n",
        ".json": json.dumps({"text": row}) + ",\n",
        ".csv": f"{row}\n",
    }
    piece = pieces[path.suffix] * 10
    with path.open("w") as file:
        file.write({".json": "[", ".csv": "text\n"}.get(path.suffix, ""))
        file.writelines(piece for _ in range(size // len(piece)))
        file.write({".json": '"end"]'}.get(path.suffix, ""))


def peak_while_reading(path: Path, document: str) -> int:
    tracemalloc.start()
    try:
        deque(source_of(path, document=document).batches(), maxlen=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "document"),
    [
        *(("a.txt", document) for document in ("file", "line", "paragraph")),
        *((f"a.{kind}", "file") for kind in ("jsonl", "json", "csv")),
    ],
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str, document: str) -> None:
    generated(tmp_path / name, 2**26 if name == "a.txt" else 2**25)
    assert peak_while_reading(tmp_path / name, document) < 16 * 2**20


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_arrow_holds_a_batch_and_no_other_column(tmp_path: Path, name: str) -> None:
    path, rows = tmp_path / name, 2**13
    texts = [f"{row} " + "x" * 2**12 for row in range(rows)]
    table = pa.table({"other": [b"y" * 2**12] * rows, "text": texts})
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="none", row_group_size=rows)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2**9)
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()  # what Arrow asks Python to read is not in its own count
    for _ in source_of(path).batches():
        most = max(most, pa.total_allocated_bytes() - before)
    read_by_python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most + read_by_python < 2**24  # of 32 MiB of text, all in a row group, 2 in a batch


def test_a_signal_is_obeyed_while_a_long_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"x" * (4 * FRAGMENT))
    with handle_signals(), pytest.raises(Interrupted, match="SIGTERM"):
        for _ in source_of(path).batches():
            signal.raise_signal(signal.SIGTERM)
            wait_until(lambda: stop_requested() is not None)


# --- identity -------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cache_key(path: Path, **settings: str) -> Any:
    return json.loads(json.dumps(source_of(path, **settings).cache_key(sha256)))


def test_the_key_depends_on_the_content_of_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "text")
    known = cache_key(path)
    (tmp_path / "elsewhere").mkdir()
    assert cache_key(path.rename(tmp_path / "elsewhere" / "b.text")) == known
    assert cache_key(write(tmp_path / "a.txt", "Text")) != known
    assert cache_key(write(tmp_path / "a.csv", "text")) != known
    assert cache_key(write(tmp_path / "a.txt.gz", "text")) != known


def test_the_order_of_the_files_counts(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        write(tmp_path / name, name)
    reading = Reading(**DEFAULTS)
    patterns = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    there, back = open_files(patterns, reading), open_files(patterns[::-1], reading)
    assert there.cache_key(sha256) == cache_key(tmp_path) != back.cache_key(sha256)


def test_the_settings_count_that_matter_to_the_files(tmp_path: Path) -> None:
    text, rows = write(tmp_path / "a.txt", "text"), write(tmp_path / "a.jsonl", '{"text": "a"}')
    changes = {"document": "line", "text_column": "body", "encoding_errors": "replace"}
    matter = {
        path: {
            name
            for name, value in changes.items()
            if cache_key(path, **{name: value}) != cache_key(path)
        }
        for path in (text, rows, tmp_path)
    }
    assert matter == {
        text: {"document", "encoding_errors"},
        rows: {"text_column", "encoding_errors"},
        tmp_path: set(changes),
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "text")
    source = source_of(path)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.txt: cannot be read \(No such file or directory\)"):
        source.cache_key(sha256)


def test_a_source_is_named_by_its_patterns(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / f"{n}.txt", "x")) for n in range(5)]
    reading = Reading(**DEFAULTS)
    assert open_files(paths[0], reading).name == paths[0]
    assert open_files(paths[:2], reading).name == f"{paths[0]}, {paths[1]}"
    assert open_files(paths, reading).name == f"{', '.join(paths[:3])}, ... (5 entries)"


def test_a_file_that_grows_while_its_documents_are_taken_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n")
    batches = source_of(path, document="line").batches()
    assert next(batches).text.startswith("one")
    with path.open("a") as file:
        file.write("three\n")
    with pytest.raises(DataError, match="changed while it was read"):
        deque(batches, maxlen=0)
    assert len(read(path, document="line")) == 3


def test_a_missing_value_is_refused(tmp_path: Path) -> None:
    """`datasets` would return None for it."""
    assert "line 2: has no column" in refusal(
        write(tmp_path / "a.jsonl", '{"text": "a"}\n{"b": 1}')
    )
