"""Model FLOPs utilisation on one NVIDIA GPU: ours, HF Trainer and plain loops, all in bf16.

    python -m benchmarks.gpu [--peak 989] [--rounds 5] [--shapes "gpt2 124M"]

`make gpu` runs the tests that need a GPU as well, within eight minutes (`benchmarks.gpu_check`).

Utilisation (Chowdhery et al. 2022, arXiv:2204.02311) is 6 N + 12 L D T operations for each token,
divided by the peak of the GPU: that of a bf16 product of the same shape in the same run and, with
`--peak`, that of its data sheet. Each contender runs alone, in a new process in each round.
"""

import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, Table, ratio_table, say
from benchmarks.rounds import Contender, Measured, run_afresh
from benchmarks.shapes import GPU_SHAPES, Shape, toy
from benchmarks.starting import foundry_train, loop, make_workload

ROUNDS: Final = 5
TICKS: Final = 5
OURS, PRODUCT = "ours", "product"


def cuda_is_there() -> bool:
    """Return whether torch finds a GPU; a separate process asks, so that this one stays small."""
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code]).returncode == 0


def contenders_of(shape: Shape, directory: Path) -> list[Contender]:
    """Return the contenders of a shape; a short run has only the first ones."""
    plain = {"training.mixed_precision": "bf16", "training.compile": "false"}
    native = {"model.implementation": "native"}
    ready = [foundry_train(OURS, directory, {})]
    ready.append(loop(PRODUCT, directory, "product", precision="bf16"))
    if shape.heads:
        ready.append(loop("HF Trainer", directory, "hf_trainer", precision="bf16"))
        ready.append(foundry_train("native", directory, native))
    ready.append(loop("bare step", directory, "bare_step", precision="bf16"))
    ready.append(foundry_train("ours, not compiled", directory, plain))
    if shape.heads:
        ready.append(foundry_train("native, not compiled", directory, plain | native))
        ready.append(loop("transformers loop", directory, "transformers_loop", precision="bf16"))
    else:
        ready.append(loop("torch.nn loop", directory, "recurrent_loop", precision="bf16"))
    return ready


def utilisation_table(shape: Shape, measured: Measured, peak: float | None) -> Table:
    """Return the figures of each contender of a shape."""
    m, k, n = shape.product
    products = measured.speeds[PRODUCT].values()
    yardstick = 2 * m * k * n * median(products) if products else None
    rows = []
    for name, by_round in measured.speeds.items():
        if name == PRODUCT or not by_round:
            continue
        speed = shape.tokens_per_step * median(by_round.values())
        operations = shape.flops_per_token * speed
        rows.append((
            name,
            f"{speed:,.0f}",
            f"{operations / 1e12:.1f}",
            f"{operations / yardstick:.0%}" if yardstick else "",
            f"{operations / (peak * 1e12):.0%}" if peak else "",
            f"{used / 2**20:,.0f}" if (used := measured.contenders[name].cuda_bytes) else "",
            f"{measured.started_in[name]:.1f}",
        ))  # fmt: skip
    columns = ("contender", "tokens/s", "TFLOP/s", "of product", "of peak", "CUDA MiB", "warm, s")
    reached = f"{yardstick / 1e12:.1f} TFLOP/s in bf16" if yardstick else "not measured"
    note = f"The product {m} x {k} by {k} x {n} alone: {reached}."
    return Table(f"{shape.name}: {shape.flops_per_token / 1e6:.0f} MFLOP a token", columns, rows,
                 note)  # fmt: skip


def ratios_of(shape: Shape, measured: Measured) -> list[Ratio]:
    """Return ours against each of the others."""
    ratios = []
    for other in measured.speeds:
        if other in (OURS, PRODUCT):
            continue
        fault = measured.faults.get(OURS) or measured.faults.get(other)
        values = () if fault else measured.ratios(OURS, other)
        ratios.append(Ratio(group=shape.name, ours=OURS, other=other, bar=None, values=values,
                            not_run=fault))  # fmt: skip
    return ratios


def measure(asked: Asked, *, seconds: float = math.inf) -> Found:
    """Measure every shape; without a GPU, only report that.

    Args:
        seconds: time for all of them; contenders that have not started by then are left out.
    """
    if not cuda_is_there():
        none = ("all", "not run: torch finds no CUDA device on this machine")
        return Found([Table("Model FLOPs utilisation", ("shape", "result"), [none])])
    found = Found()
    rounds = asked.rounds or (2 if asked.quick else ROUNDS)
    names = [name for name in GPU_SHAPES if not asked.shapes or name in asked.shapes]
    begun = time.monotonic()
    for number, name in enumerate(names, 1):
        say(f"{name}:")
        deadline = begun + seconds * number / len(names)
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place) / "workload"
            shape = toy(GPU_SHAPES[name]) if asked.quick else GPU_SHAPES[name]
            shape = make_workload(directory, shape, asked.text)
            contenders = contenders_of(shape, directory)
            measured = run_afresh(contenders, rounds=rounds, ticks=TICKS, deadline=deadline)
            # inside: the ticks, which lie there, tell of the memory
            found.tables.append(utilisation_table(shape, measured, asked.peak))
        found.ratios.extend(ratios_of(shape, measured))
    found.tables.insert(0, ratio_table("Ratios of speed on the GPU", found.ratios))
    return found


if __name__ == "__main__":
    if not cuda_is_there():
        sys.exit("benchmarks.gpu needs an NVIDIA GPU, and torch finds no CUDA device here")
    run_alone(measure, __doc__)
