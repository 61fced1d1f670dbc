"""GPT-2 and BERT of this package's own blocks against transformers' classes, in `foundry train`.

    python -m benchmarks.native [--shapes "gpt2 m" ...] [--rounds 6] [data.train=PATH]

Both are trained by the same loop with the same settings, but for `model.implementation`, and work
in turn in the same rounds, in fp32 and in bf16. Nothing is compiled.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, ratio_table, say
from benchmarks.rounds import Contender, Measured, run_rounds
from benchmarks.shapes import SHAPES, toy
from benchmarks.starting import foundry_train, make_workload
from benchmarks.train import reason_not_to_run, speed_table

ROUNDS: Final = 6
PRECISIONS: Final = {"fp32": "no", "bf16": "bf16"}
IMPLEMENTATIONS: Final = ("native", "transformers")


def contenders_of(directory: Path, asked: Asked) -> list[Contender]:
    """Return both implementations in each precision that this machine computes in."""
    return [
        foundry_train(
            f"{kind} {precision}",
            directory,
            {
                "model.implementation": kind,
                "training.mixed_precision": setting,
                "training.compile": "false",
            },
        )
        for precision, setting in PRECISIONS.items()
        for kind in IMPLEMENTATIONS
        if reason_not_to_run(precision, asked) is None
    ]


def ratios_of(name: str, measured: Measured, asked: Asked) -> list[Ratio]:
    """Return native against transformers, in speed and in peak memory."""
    found = []
    for precision in PRECISIONS:
        ours, other = (f"{kind} {precision}" for kind in IMPLEMENTATIONS)
        fault = reason_not_to_run(precision, asked)
        fault = fault or measured.faults.get(ours) or measured.faults.get(other)
        given = {"ours": ours, "other": other, "bar": 1.0, "not_run": fault}
        speeds = () if fault else measured.ratios(ours, other)
        found.append(Ratio(group=name, values=speeds, per_start=measured.per_start, **given))
        peaks = [measured.contenders[each].peak_bytes for each in (ours, other) if not fault]
        memory = (peaks[0] / peaks[1],) if peaks else ()
        found.append(Ratio(group=f"{name}, peak memory", at_most=True, values=memory, **given))
    return found


def measure(asked: Asked) -> Found:
    """Measure every selected shape that has both implementations."""
    found = Found()
    names = [name for name in SHAPES if SHAPES[name].heads]
    for name in [name for name in names if not asked.shapes or name in asked.shapes]:
        say(f"{name}:")
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place) / "workload"
            shape = toy(SHAPES[name]) if asked.quick else SHAPES[name]
            shape = make_workload(directory, shape, asked.text)
            rounds = asked.rounds or (2 if asked.quick else ROUNDS)
            measured = run_rounds(contenders_of(directory, asked), rounds=rounds)
        found.tables.append(replace(speed_table(shape, measured), note=""))
        found.ratios.extend(ratios_of(name, measured, asked))
    found.tables.insert(0, ratio_table("Native blocks against transformers", found.ratios))
    return found


if __name__ == "__main__":
    run_alone(measure, __doc__)
