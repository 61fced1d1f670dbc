"""Processes that a part measures: `foundry train`, loops of others, and their inputs.

This process must stay small: the peak memory of a child counts from that of its parent.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.rounds import PROJECT, Contender
from benchmarks.shapes import Shape

FOUNDRY: Final = (sys.executable, "-m", "model_foundry")
LEVERS_OFF: Final = {
    "training.mixed_precision": "no",
    "training.compile": "false",
    "training.speed.loss_without_logits": "false",
    "training.speed.fused_activations": "false",
    "training.speed.fused_optimizer": "false",
    "training.speed.fused_recurrence": "false",
    "training.speed.fp32_products": "default",
    "training.speed.keep_freed_memory": "false",
}
"""Settings of the plain path, with everything that makes training fast switched off."""


def slug(name: str) -> str:
    """Return a name as a file name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def make_workload(
    directory: Path, shape: Shape, text: Path | None, *, with_model: bool = False
) -> Shape:
    """Make the inputs of the contenders of a shape; return the shape with its true vocabulary.

    Args:
        text: file to train on; None: made-up words.
        with_model: save a model there as well.
    """
    directory.mkdir(parents=True)
    shape_file = directory / "shape.json"
    shape_file.write_text(json.dumps(shape.as_json()), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.workload", str(directory)]
    command += ["--text", str(text)] if text else []
    run_quietly([*command, "--model"] if with_model else command)
    return Shape(**json.loads(shape_file.read_text(encoding="utf-8")))


def run_quietly(command: list[str]) -> None:
    """Run a command to its end; show its output only if it fails.

    Raises:
        RuntimeError: it failed; the message is the end of its output.
    """
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stdout}")


def loop(
    name: str,
    directory: Path,
    module: str,
    *,
    precision: str = "no",
    python: str | None = None,
) -> Contender:
    """Return a loop of `contenders` over a workload.

    Args:
        module: its file there.
        precision: no or bf16.
        python: interpreter; None: this one.
    """
    ticks = directory / f"{slug(name)}.jsonl"
    runner = [python or sys.executable, "-m", "benchmarks.contenders"]
    command = [*runner, module, precision, str(directory), str(ticks)]
    return Contender(name, command, ticks, ticks.with_suffix(".log"))


def foundry_train(name: str, directory: Path, settings: Mapping[str, str]) -> Contender:
    """Return `foundry train` on the experiment of a workload, with its own log as ticks.

    Args:
        settings: given on its command line.
    """
    run = directory / f"run-{slug(name)}"
    overrides = [f"{key}={value}" for key, value in settings.items()]
    command = [*FOUNDRY, "train", str(directory / "experiment.yaml"), f"output_dir={run}"]
    return Contender(name, [*command, *overrides], run / "metrics.jsonl", run.with_suffix(".log"))
