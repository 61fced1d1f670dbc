"""Results of a part of the benchmark: their records, and their page RESULTS.md.

`results.json` holds the latest figures of each part, so that one part can be measured again
without the others; RESULTS.md and results.png are made from it.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.ratios import Ratio
from model_foundry.foundation.hardware import instructions, processor, usable_cores

TOLD: Final = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # instructions that decide the speed
LIBRARIES: Final = ("torch", "transformers", "accelerate", "tokenizers", "datasets")


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Table:
    """Rows and columns with a note."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def __str__(self) -> str:
        aligned = ["---:" if self._holds_numbers(i) else "---" for i in range(len(self.columns))]
        lines = [" | ".join(cells) for cells in (self.columns, aligned, *self.rows)]
        table = "\n".join(f"| {line} |" for line in lines)
        return f"### {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")

    def _holds_numbers(self, column: int) -> bool:
        return any(row[column][:1].isdigit() for row in self.rows)


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps of a run."""

    title: str
    unit: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Found:
    """Results of one part."""

    tables: list[Table] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Found":
        """Return results from the fields of `as_json`."""
        return cls(
            [Table(**table) for table in record["tables"]],
            [Ratio(**ratio) for ratio in record["ratios"]],
            [Curve(**curve) for curve in record["curves"]],
        )


def gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs with memory and driver; none where there is no driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def machine() -> str:
    """Describe this machine in one line."""
    name = processor().get("model name") or platform.processor() or platform.machine()
    known = [each for each in TOLD if each in instructions()]
    parts = [
        *gpus(),
        f"{name}, {usable_cores()} cores",
        " ".join(known) or "no AVX2",
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        f"Python {platform.python_version()}",
        *(f"{library} {version(library)}" for library in LIBRARIES),
    ]
    return ", ".join(parts)


def ratio_table(title: str, ratios: list[Ratio], note: str = "") -> Table:
    """Return a table of ratios and their bars."""
    columns = ("what", "ours", "against", "bar", "ratio", "95% interval", "pairs", "reached")
    return Table(title, columns, [_ratio_row(ratio) for ratio in ratios], note)


def _ratio_row(ratio: Ratio) -> tuple[str, ...]:
    bar = "" if ratio.bar is None else f"{'<=' if ratio.at_most else '>='} {ratio.bar:g}"
    names = (ratio.group, ratio.ours, ratio.other, bar)
    if ratio.not_run is not None:
        return (*names, "not run", ratio.not_run, "", "")
    low, high = ratio.interval
    measured = (f"{ratio.median:.3f}", f"{low:.3f} to {high:.3f}", str(len(ratio.values)))
    return (*names, *measured, ratio.verdict)


@dataclass(frozen=True)
class Store:
    """The results in a directory: one record for each part."""

    directory: Path

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the records by part; `machine`, `seconds` and `found`."""
        path = self.directory / "results.json"
        if not path.exists():
            return {}
        records: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return records

    def put(self, part: str, found: Found, *, options: str, seconds: float) -> None:
        """Replace the record of a part, and write the page again."""
        self.put_record(
            part,
            {
                "machine": machine(),
                "options": options,
                "seconds": round(seconds),
                "found": found.as_json(),
            },
        )

    def put_record(self, part: str, record: dict[str, Any]) -> None:
        """Replace the record of a part by one that may come from another machine."""
        records = self.read() | {part: record}
        self.directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(records, indent=1) + "\n"
        (self.directory / "results.json").write_text(text, encoding="utf-8")
        (self.directory / "RESULTS.md").write_text(page(records), encoding="utf-8")


def page(records: dict[str, dict[str, Any]]) -> str:
    """Return RESULTS.md."""
    lines = [
        "# Results of the benchmarks",
        "",
        "Written by `make bench` from `results.json`; do not edit. Machines are shared and differ: "
        "a ratio is measured within one interleaved run and means something, a figure by itself "
        "hardly. [docs/performance.md](../docs/performance.md) says what follows from them.",
        "",
        "![Ratios with their intervals](results.png)",
        "",
    ]
    for part, record in records.items():
        lines += [f"## {part}", "", f"Measured in {record['seconds']} s on {record['machine']}."]
        lines += [f"Options: `{record['options']}`."] if record["options"] else []
        lines += ["", *(str(table) for table in Found.from_json(record["found"]).tables)]
    return "\n".join(lines).rstrip() + "\n"
