"""What tracking costs `foundry train`: TensorBoard with histograms against no tracker.

    python -m benchmarks.trackers [--rounds 2]

The tiny configurations are trained with a line of the log and histograms of all weights and
gradients every 50 steps, and without. Two processes of one and the same training differ by up to
15%, whatever they do, since the placement of their memory differs; so one process does both in
turn, for 50 steps each (`contenders/tracked.py`). Needs the extra `tensorboard`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, ratio_table, say
from benchmarks.rounds import PROJECT

ROUNDS: Final = 2  # starts
PAIRS: Final = 40  # of each start
STEPS: Final = 50
CONFIGS: Final = ("tiny_gpt2", "tiny_lstm")
BAR: Final = 0.97
TRACKED, BARE = "tensorboard, histograms", "no tracker"


def measure(asked: Asked) -> Found:
    """Measure each tiny configuration."""
    found = Found()
    missing = None if find_spec("tensorboard") else "tensorboard is not installed"
    for name in CONFIGS[:1] if asked.quick else CONFIGS:
        ratio = Ratio(group=name, ours=TRACKED, other=BARE, bar=BAR, not_run=missing)
        if missing is None:
            ratio = replace(ratio, values=tuple(_ratios(name, asked)))
        found.ratios.append(ratio)
    found.tables.append(ratio_table("Speed with a tracker against without", found.ratios))
    return found


def _ratios(name: str, asked: Asked) -> Iterator[float]:
    """Yield the speed of tracked steps divided by that of bare ones, for each pair."""
    pairs, steps = (2, 4) if asked.quick else (PAIRS, STEPS)
    for number in range(asked.rounds or (1 if asked.quick else ROUNDS)):
        say(f"{name}: start {number + 1}")
        with tempfile.TemporaryDirectory() as place:
            config = str(PROJECT / "configs" / f"{name}.yaml")
            arguments = (config, f"{place}/run", str(pairs), str(steps))
            command = [sys.executable, "-m", "benchmarks.contenders.tracked", *arguments]
            done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True)
        for tracked, bare in json.loads(done.stdout.splitlines()[-1]):
            yield bare / tracked


if __name__ == "__main__":
    run_alone(measure, __doc__)
