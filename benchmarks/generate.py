"""Generation of text against transformers' `generate` on the same saved model.

    python -m benchmarks.generate [--shapes "gpt2 s" ...] [--rounds 10]

Greedy, cached, all rows to their full length. Loading is not in the figures. A recurrent model must
also take as long for the thousandth token as for the first.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, Table, ratio_table, say
from benchmarks.rounds import Measured, run_rounds
from benchmarks.shapes import SHAPES, Shape, toy
from benchmarks.starting import loop, make_workload

ROUNDS: Final = 10  # starts; each gives two comparisons
PROMPT, NEW, LONG = 16, 256, 1024  # tokens; the first as in contenders.generation
OURS, OTHER = "ours", "transformers"
CASES: Final = (("gpt2 s", 1, 4), ("gpt2 s", 16, 2), ("gpt2 m", 1, 1), ("lstm 256/8192", 1, 4))
"""Shape, rows, and calls of one tick."""


def cases(asked: Asked) -> list[Shape]:
    """Return the cases: rows as long as prompt and continuation."""
    chosen = [case for case in CASES if not asked.shapes or case[0] in asked.shapes]
    shapes = []
    for name, rows, calls in chosen:
        shape = toy(SHAPES[name]) if asked.quick else SHAPES[name]
        block = PROMPT + (NEW // 16 if asked.quick else NEW)
        shapes.append(replace(shape, batch=rows, steps=calls, block=block))
    return shapes


def compare(shape: Shape, rounds: int) -> tuple[Measured, Shape]:
    """Time our generation and that of transformers in turn."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "workload"
        shape = make_workload(directory, shape, None, with_model=True)
        contenders = [
            loop(OURS, directory, "our_generation"),
            loop(OTHER, directory, "transformers_generation"),
        ]
        return run_rounds(contenders, rounds=rounds), shape


def compare_lengths(shape: Shape, rounds: int) -> Measured:
    """Time our generation of short and of long rows in turn."""
    with tempfile.TemporaryDirectory() as place:
        contenders = []
        for name, factor in (("short", 1), ("long", LONG // NEW)):
            new = (shape.block - PROMPT) * factor
            directory = Path(place) / name
            longer = replace(shape, block=PROMPT + new, steps=max(1, shape.steps // factor))
            make_workload(directory, longer, None, with_model=True)
            contenders.append(loop(name, directory, "our_generation"))
        return run_rounds(contenders, rounds=rounds)


def _ratio(group: str, names: tuple[str, str], bar: float, measured: Measured) -> Ratio:
    fault = next((measured.faults[name] for name in names if name in measured.faults), None)
    values = () if fault else measured.ratios(*names)
    ours, other = names
    return Ratio(
        group=group,
        ours=ours,
        other=other,
        bar=bar,
        values=values,
        per_start=measured.per_start,
        not_run=fault,
    )


def measure(asked: Asked) -> Found:
    """Measure every case."""
    rounds, rows, ratios = asked.rounds or (2 if asked.quick else ROUNDS), [], []
    for case in cases(asked):
        say(f"generation, {case.name}, {case.batch} rows:")
        measured, shape = compare(case, rounds)
        group = f"{shape.name}, {shape.batch} rows"
        ratios.append(_ratio(group, (OURS, OTHER), 1.0, measured))
        for name, speeds in measured.speeds.items():
            if speeds:
                speed = shape.batch * median(speeds.values())
                peak = measured.contenders[name].peak_bytes / 2**20
                rows.append((group, name, f"{speed:,.0f}", f"{peak:,.0f}"))
        if not shape.heads:
            say(f"generation, {shape.name}, short and long rows:")
            lengths = compare_lengths(case, rounds)
            ratios.append(_ratio(f"{shape.name}, a long row", ("long", "short"), 0.97, lengths))
    title = f"Greedy generation of {NEW} tokens; long rows have {LONG}"
    table = Table("Speed", ("case", "contender", "tokens/s", "peak MiB"), rows)
    return Found([ratio_table(title, ratios), table], ratios)


if __name__ == "__main__":
    run_alone(measure, __doc__)
