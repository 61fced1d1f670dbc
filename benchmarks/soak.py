"""Cost of a token over a long run, and on corpora of different sizes.

    python -m benchmarks.soak [--steps 100000] [--megabytes 1 1000] [data.train=PATH]

A toy model, so that everything but arithmetic shows. `foundry train` is watched over one long run,
with its memory; then runs on corpora of different sizes train in turn. Linux only, for /proc.

Memory that grows after the first 2,000 steps is a fault: see plans/0020-memory-of-long-runs.md for
one, which cost 195 bytes a step (3.4 MiB from step 2,000 to 20,000; 0.2 MiB since the fix).
"""

import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import yaml

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Curve, Found, Table, ratio_table, say
from benchmarks.rounds import Contender, run_rounds
from benchmarks.shapes import SMALL, Shape, experiment, toy
from benchmarks.starting import FOUNDRY, foundry_train, make_workload, run_quietly
from benchmarks.texts import lines_of, write_lines

STEPS, QUICK_STEPS = 20_000, 60
ROUNDS: Final = 10  # starts; each gives two comparisons
MEGABYTES: Final = (1, 64)
FIRST: Final = 10  # steps that are still warming up
POINTS: Final = 200  # lines of the log of the long run
PAUSE: Final = 0.2  # seconds between two looks at the memory


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def watch(contender: Contender, steps: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Let a run work until `steps`; return its ticks and its memory at each, in MiB."""
    memory: list[float] = []
    try:
        contender.start()
        contender.thaw()
        while (ticks := contender.ticks())[-1]["step"] < steps:
            memory += [resident_bytes(contender.pid) / 2**20] * (len(ticks) - len(memory))
            contender.require_alive()
            time.sleep(PAUSE)
    finally:
        contender.end()
    return ticks, memory + memory[-1:] * (len(ticks) - len(memory))


def stretches(ticks: list[dict[str, Any]], tokens_per_step: int) -> tuple[list[int], list[float]]:
    """Return the last step of each stretch between two ticks, and its microseconds per token."""
    pairs = [pair for pair in pairwise(ticks) if pair[0]["step"] >= FIRST]
    costs = [
        1e6 * (late["time"] - early["time"]) / (tokens_per_step * (late["step"] - early["step"]))
        for early, late in pairs
    ]
    return [late["step"] for _, late in pairs], costs


def long_run(shape: Shape, steps: int, text: Path | None) -> Found:
    """Watch one run from its first steps to its last."""
    logging = max(1, steps // POINTS)
    say(f"soak, {steps:,} steps:")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "workload"
        shape = make_workload(directory, replace(shape, steps=logging), text)
        contender = foundry_train("long", directory, {})
        ticks, memory = watch(contender, steps)
    ends, costs = stretches(ticks, shape.tokens_per_step)
    memory = memory[-len(ends) :]
    tenth = max(1, len(ends) // 10)
    rows = [
        (name, f"{ends[part][0]:,} to {ends[part][-1]:,}", *_costs(costs[part], memory[part]))
        for name, part in (("first tenth", slice(tenth)), ("last tenth", slice(-tenth, None)))
    ]
    ratio = Ratio(
        group=f"soak, {steps:,} steps, cost of a token",
        ours="last tenth",
        other="first tenth",
        bar=1.05,
        at_most=True,
        values=tuple(
            late / early for early, late in zip(costs[:tenth], costs[-tenth:], strict=True)
        ),
    )
    columns = ("stretch", "steps", "microseconds a token", "resident MiB")
    steps_made = [float(end) for end in ends]
    return Found(
        [Table(f"One run of {steps:,} steps", columns, rows)],
        [ratio],
        [
            Curve("Cost of a token", "microseconds", steps_made, costs),
            Curve("Resident memory", "MiB", steps_made, memory),
        ],
    )


def _costs(costs: list[float], memory: list[float]) -> tuple[str, str]:
    return f"{median(costs):.2f}", f"{median(memory):,.0f}"


def corpora(shape: Shape, sizes: tuple[int, ...], asked: Asked) -> Found:
    """Train on corpora of different sizes in turn."""
    rounds = asked.rounds or (2 if asked.quick else ROUNDS)
    say(f"soak, corpora of {', '.join(map(str, sizes))} MB:")
    lines = lines_of(asked.text, sentences=500 if asked.quick else 20_000)
    contenders, seconds = [], {}
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            directory = Path(place) / f"{size}"
            seconds[f"{size} MB"] = prepare(directory, shape, lines, size)
            contenders.append(foundry_train(f"{size} MB", directory, {}))
        measured = run_rounds(contenders, rounds=rounds)
    if measured.faults:
        raise RuntimeError("; ".join(measured.faults.values()))
    small, *larger = measured.speeds
    ratios = [
        Ratio(
            group="soak, speed on a larger corpus",
            ours=name,
            other=small,
            bar=0.97,
            values=measured.ratios(name, small),
            per_start=measured.per_start,
        )
        for name in larger
    ]
    rows = [
        (name, f"{seconds[name]:.1f}", f"{shape.tokens_per_step * median(speeds.values()):,.0f}",
         f"{measured.contenders[name].peak_bytes / 2**20:,.0f}")
        for name, speeds in measured.speeds.items()
    ]  # fmt: skip
    columns = ("corpus", "seconds to tokenise", "tokens/s of training", "peak MiB of training")
    note = "What was read of the memory-mapped tokens counts as memory here, and belongs to the "
    note += "system, which takes it back when it is needed."
    return Found([Table("Corpora of different sizes", columns, rows, note)], ratios)


def prepare(directory: Path, shape: Shape, lines: list[str], megabytes: int) -> float:
    """Write and tokenize a corpus; return the seconds of the tokenization."""
    directory.mkdir()
    write_lines(directory / "corpus.txt", lines, megabytes=megabytes)
    settings = experiment(shape, directory) | {"tokenizer": {"tokenizer_type": "character"}}
    settings["data"] |= {"document": "line", "split_by": "document", "validation_fraction": 0.001}
    path = directory / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    begun = time.perf_counter()
    run_quietly([*FOUNDRY, "prepare", str(path)])
    say(f"  {megabytes} MB tokenised in {time.perf_counter() - begun:.1f} s")
    return time.perf_counter() - begun


def measure(asked: Asked) -> Found:
    """Watch one long run, then corpora of different sizes."""
    steps = asked.steps or (QUICK_STEPS if asked.quick else STEPS)
    sizes = asked.megabytes or ((1, 2) if asked.quick else MEGABYTES)
    shape = replace(toy(SMALL), block=64, batch=4)
    found = long_run(shape, steps, asked.text)
    by_size = corpora(replace(shape, steps=4 if asked.quick else 200), sizes, asked)
    ratios = [*found.ratios, *by_size.ratios]
    table = ratio_table("Cost that stays flat", ratios)
    return Found([table, *found.tables, *by_size.tables], ratios, found.curves)


if __name__ == "__main__":
    run_alone(measure, __doc__)
