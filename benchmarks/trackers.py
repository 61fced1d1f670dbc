"""What tracking costs `foundry train`: TensorBoard with histograms against no tracker.

    python -m benchmarks.trackers [--rounds 10]

The tiny configurations are trained with a line of the log and histograms of all weights and
gradients every 50 steps, and without trackers. Needs the extra `tensorboard`.
"""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, ratio_table, say
from benchmarks.rounds import PROJECT, Contender, run_rounds
from benchmarks.starting import foundry_train

ROUNDS: Final = 10  # starts
PER_START: Final = 6  # comparisons; a start takes as long as ten ticks, whose noise is about 5%
STEPS: Final = 50  # of one tick, and between two histograms
CONFIGS: Final = ("tiny_gpt2", "tiny_lstm")
BAR: Final = 0.97
TRACKED, BARE = "tensorboard, histograms", "no tracker"
TRACKERS: Final = {
    TRACKED: {
        "tracking.trackers": "[tensorboard]",
        "tracking.histogram_steps": str(STEPS),
    },
    BARE: {},
}


def contenders_of(directory: Path, asked: Asked) -> list[Contender]:
    """Return the training with and without the tracker."""
    steps = 2 if asked.quick else STEPS
    endless = {"training.max_steps": "1000000", "training.logging_steps": str(steps)}
    return [
        foundry_train(name, directory, {**endless, **settings})
        for name, settings in TRACKERS.items()
    ]


def measure(asked: Asked) -> Found:
    """Measure each tiny configuration."""
    rounds, found = asked.rounds or (2 if asked.quick else ROUNDS), Found()
    missing = None if find_spec("tensorboard") else "tensorboard is not installed"
    for name in CONFIGS[:1] if asked.quick else CONFIGS:
        ratio = {"group": name, "ours": TRACKED, "other": BARE, "bar": BAR}
        if missing:
            found.ratios.append(Ratio(**ratio, not_run=missing))
            continue
        say(f"{name}:")
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            config = PROJECT / "configs" / f"{name}.yaml"
            shutil.copy(config, directory / "experiment.yaml")
            measured = run_rounds(
                contenders_of(directory, asked),
                rounds=rounds,
                per_start=1 if asked.quick else PER_START,
            )
        fault = measured.faults.get(TRACKED) or measured.faults.get(BARE)
        values = () if fault else measured.ratios(TRACKED, BARE)
        found.ratios.append(
            Ratio(**ratio, values=values, per_start=measured.per_start, not_run=fault)
        )
    found.tables.append(ratio_table("Speed with a tracker against without", found.ratios))
    return found


if __name__ == "__main__":
    run_alone(measure, __doc__)
