"""The parts of docs/data.md, and the corpora of its lines.

The corpora are written by other libraries than those that read them, where there are any.
"""

import bz2
import csv
import gzip
import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from model_foundry.synthetic_language import load_language

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
DOCUMENTS = list(load_language().sample(60, seed=5))


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


[EXPERIMENT, STEPS] = [
    next(block for block in blocks("yaml") if block.startswith(first))
    for first in ("experiment_name", "interventions")
]
LINES = [
    line.partition("   ")[0].strip()
    for block in blocks("yaml")
    for line in block.splitlines()
    if line.startswith("train:")
]


def rows(header: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the table whose first cell of the header is given."""
    table = re.search(rf"^\| {header} \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.M)
    assert table, header
    for line in table[1].splitlines():
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def pack(path: Path) -> None:
    """Write a file packed in each way beside it."""
    raw = path.read_bytes()
    for suffix, packed in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        Path(f"{path}{suffix}").write_bytes(packed(raw))
    with pa.CompressedOutputStream(f"{path}.zst", "zstd") as file:
        file.write(raw)


def write_treebank(path: Path) -> None:
    """Write each document as a paragraph of one sentence, as CoNLL-U without analyses."""
    blank = "\t_" * 8
    with path.open("w", encoding="utf-8") as file:
        for document in DOCUMENTS:
            words = enumerate(document.split(), 1)
            lines = (f"{number}\t{form}{blank}\n" for number, form in words)
            file.write("".join(["# newpar\n", f"# text = {document}\n", *lines, "\n"]))


def write_corpora(place: Path) -> None:
    """Write the corpora that the lines name; all hold the same documents but `short`."""
    (place / "corpus.txt").write_text("\n\n".join(DOCUMENTS) + "\n", encoding="utf-8")
    records = [{"number": number, "text": text} for number, text in enumerate(DOCUMENTS)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (place / "rows.jsonl").write_text(lines, encoding="utf-8")
    (place / "rows.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    for name, delimiter in (("rows.csv", ","), ("rows.tsv", "\t")):
        with (place / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows(
                [["number", "text"], *enumerate(DOCUMENTS)]
            )
    table = pa.Table.from_pylist(records)
    pq.write_table(table, place / "rows.parquet", row_group_size=7)
    with pa.ipc.new_file(place / "rows.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    write_treebank(place / "corpus.conllu")
    for name in ("corpus.txt", "rows.jsonl"):
        pack(place / name)
    (place / "books").mkdir()
    for name, part in (("a", DOCUMENTS[:20]), ("b", DOCUMENTS[20:40]), ("c", DOCUMENTS[40:])):
        (place / "books" / f"{name}.txt").write_text("\n\n".join(part), encoding="utf-8")
    train = datasets.Dataset.from_list(records)
    datasets.DatasetDict({"train": train}).save_to_disk(str(place / "saved"))
    write_hub_directory(place / "stories")


def write_hub_directory(place: Path) -> None:
    """Write a directory as data sets lie on a hub, with two configurations."""
    place.mkdir()
    configs = "".join(
        f"- config_name: {name}\n  default: {str(name == 'all').lower()}\n"
        f"  data_files: [{{split: train, path: {name}.jsonl}}]\n"
        for name in ("all", "short")
    )
    (place / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    for name, texts in (("all", DOCUMENTS), ("short", DOCUMENTS[:30])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (place / f"{name}.jsonl").write_text(lines, encoding="utf-8")
