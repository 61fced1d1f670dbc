"""Start-up times: the first step of training, and the other commands.

    python -m benchmarks.startup [--rounds 5]

The first step of `foundry train` is the time of its first line of metrics, with tokenizer and
tokens in the cache. It is measured against the bare import of its dependencies. Whole processes, in
turn.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, Table, ratio_table, say
from benchmarks.rounds import PROJECT, Contender
from benchmarks.shapes import SMALL, toy
from benchmarks.starting import FOUNDRY, foundry_train, loop, make_workload

ROUNDS: Final = 5
IMPORTS: Final = "import torch, accelerate, tokenizers; from transformers import GPT2LMHeadModel"
TRAIN, BARE, TRAINER = "foundry train, first step", "bare import", "HF Trainer, first step"


def seconds_of(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    begun = time.perf_counter()
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=PROJECT, check=True, env=environment, capture_output=True)
    return time.perf_counter() - begun


def seconds_to_first_step(contender: Contender) -> float:
    """Return the seconds until a contender has made one step, and kill it."""
    contender.ticks_file.unlink(missing_ok=True)
    try:
        contender.start(ticks=1)
    finally:
        contender.end()
    return contender.started_in


def contenders(directory: Path) -> dict[str, Callable[[], float]]:
    """Return the commands, by name; the first two are compared."""
    experiment = str(directory / "experiment.yaml")
    python = [sys.executable, "-c"]
    train = foundry_train("ours", directory, {})
    train.command = [*train.command, "--fresh"]
    trainer = loop("trainer", directory, "hf_trainer")
    commands = {
        BARE: [*python, IMPORTS],
        "foundry --help": [*FOUNDRY, "--help"],
        "foundry validate": [*FOUNDRY, "validate", experiment],
        "accelerate --help": [*python, "from accelerate.commands.accelerate_cli import main; "
                              "import sys; sys.argv = ['accelerate', '--help']; main()"],
    }  # fmt: skip
    return {
        TRAIN: partial(seconds_to_first_step, train),
        TRAINER: partial(seconds_to_first_step, trainer),
        **{name: partial(seconds_of, command) for name, command in commands.items()},
    }


def measure(asked: Asked) -> Found:
    """Time each in turn."""
    rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    say("start-up:")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "workload"
        make_workload(directory, replace(toy(SMALL), steps=1), None)
        timed = contenders(directory)
        found: dict[str, list[float]] = {name: [] for name in timed}
        for number in range(rounds):
            for name in timed if number % 2 == 0 else reversed(timed):
                found[name].append(timed[name]())
            say(f"  round {number + 1}: " + ", ".join(f"{n} {t[-1]:.2f}" for n, t in found.items()))
    pairs = zip(found[TRAIN], found[BARE], strict=True)
    ratio = Ratio(
        group="start-up",
        ours=TRAIN,
        other=BARE,
        bar=1.25,
        at_most=True,
        values=tuple(ours / bare for ours, bare in pairs),
    )
    rows = [
        (name, f"{median(times):.2f}", f"{min(times):.2f} to {max(times):.2f}")
        for name, times in found.items()
    ]
    note = f"Bare import: `{IMPORTS}`."
    table = Table("Seconds of whole processes", ("what", "seconds", "range"), rows, note)
    return Found([ratio_table("Start-up", [ratio]), table], [ratio])


if __name__ == "__main__":
    run_alone(measure, __doc__)
