"""What `foundry plan` predicts against the run that follows it: parameters, memory, time.

    python -m benchmarks.plan [--rounds 2]

Each model is planned with `--measure` and trained at once after that, each in a process of its own.
The memory of a plan comes from steps of its own before anything is measured; the peak of the
training is the largest resident memory that the system reports of its process. On a machine that
others use, a process gets a share of a processor that changes by the minute, so times are compared
in processor seconds too: a duration times the share that its process had. One thread.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import yaml

from benchmarks.asked import Asked, run_alone
from benchmarks.results import Found, Table, say
from benchmarks.rounds import PROJECT
from benchmarks.starting import FOUNDRY, run_quietly
from benchmarks.texts import made_up_words

ROUNDS: Final = 2
WORDS, VOCABULARY = 300_000, 4000
IMAGES, SIDE, CLASSES = 2000, 32, 10
TRANSFORMER: Final = {"layers": 6, "hidden_size": 384, "attention_heads": 6}
BACKBONE: Final = {"layers": 4, "hidden_size": 256, "attention_heads": 4}
RECURRENT: Final = {"embedding_size": 512, "hidden_size": 512, "num_layers": 2}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model with its task."""

    architecture: str
    objective: str
    section: dict[str, Any]
    """The sections of the model by name."""
    block: int = 128
    batch: int
    steps: int

    def settings(self, directory: Path) -> dict[str, Any]:
        """Return the experiment file, with data below a directory."""
        data: dict[str, Any] = {"cache_dir": str(directory / "cache")}
        tokenizer: dict[str, Any] = {}
        if self.objective == "image_classification":
            data["train"] = str(directory / "images.npz")
        else:
            data |= {"train": str(directory / "corpus.txt"), "max_sequence_length": self.block}
            data |= {"split_by": "position"}
            tokenizer = {"tokenizer": {"tokenizer_type": "word", "vocab_size": VOCABULARY}}
        every = max(1, self.steps // 2)
        return {
            "experiment_name": self.architecture,
            "output_dir": str(directory / f"run-{self.architecture}"),
            "data": data,
            **tokenizer,
            "model": {"architecture": self.architecture, **self.section},
            "training": {
                "objective": self.objective,
                "max_steps": self.steps,
                "per_device_train_batch_size": self.batch,
                "eval_steps": every,
                "save_steps": every,
            },
        }


def _recurrent(architecture: str, *, steps: int) -> Case:
    section = {"rnn": RECURRENT}
    return Case(
        architecture=architecture, objective="causal_lm", section=section, batch=32, steps=steps
    )


CASES: Final = (
    Case(
        architecture="gpt2",
        objective="causal_lm",
        section={"transformer": TRANSFORMER},
        batch=16,
        steps=16,
    ),
    Case(
        architecture="bert",
        objective="masked_lm",
        section={"transformer": TRANSFORMER},
        batch=16,
        steps=16,
    ),
    _recurrent("lstm", steps=14),
    _recurrent("gru", steps=14),
    _recurrent("rnn", steps=24),
    Case(
        architecture="t5",
        objective="span_denoising",
        section={"transformer": BACKBONE},
        batch=32,
        steps=16,
    ),
    Case(
        architecture="vit",
        objective="image_classification",
        section={"backbone": BACKBONE, "vit": {"patch_size": 4}},
        batch=64,
        steps=20,
    ),
)


def write_data(directory: Path) -> None:
    """Write the corpus and the images."""
    with (directory / "corpus.txt").open("w", encoding="utf-8") as file:
        file.writelines(made_up_words(WORDS, vocabulary=VOCABULARY))
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8)
    np.savez(directory / "images.npz", image=images, label=np.arange(IMAGES) % CLASSES)


@dataclass(frozen=True, kw_only=True)
class Process:
    """A command that has ended."""

    output: str
    seconds: float
    share: float
    """Processor seconds for each second."""
    peak: int
    """Most resident bytes."""


def run_measured(*command: str) -> Process:
    """Run a command with one thread.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.perf_counter()
    with subprocess.Popen(
        [*FOUNDRY, *command],
        cwd=PROJECT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Process(
        output=output,
        seconds=seconds,
        share=(usage.ru_utime + usage.ru_stime) / seconds,
        peak=usage.ru_maxrss * 1024,  # KiB on Linux
    )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A plan, and the run that followed it."""

    plan: dict[str, Any]
    planning: Process
    training: Process

    @property
    def parameters(self) -> int:
        """Parameters of the trained model."""
        [size] = re.findall(r"^size +([\d,]+) parameters", self.training.output, re.M)
        return int(size.replace(",", ""))

    @property
    def growth(self) -> int:
        """Bytes by which the run has grown beyond libraries and data."""
        return self.training.peak - int(self.plan["memory"]["process"])

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds of the run as planned, and as they were."""
        return self.plan["time"]["in_all"], self.training.seconds

    @property
    def processor_seconds(self) -> tuple[float, float]:
        """The same of a processor."""
        planned, was = self.seconds
        return planned * self.planning.share, was * self.training.share


def run_pair(case: Case, directory: Path, number: int) -> Pair:
    """Plan a run, and make it."""
    settings = case.settings(directory)
    settings["output_dir"] += f"-{number}"
    file = directory / f"{case.architecture}.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    planning = run_measured("plan", str(file), "--json", "--measure")
    training = run_measured("train", str(file))
    return Pair(plan=json.loads(planning.output), planning=planning, training=training)


def off(planned: float, was: float) -> str:
    """Return by which share of what was a plan is off."""
    return f"{planned / was - 1:+.0%}"


def memory_row(name: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the parameters and the memory of a model, the medians of its pairs."""
    counted = [pair.plan["parameters"]["total"] == pair.parameters for pair in pairs]
    process, tensors, expected = (
        median(int(pair.plan["memory"][key]) for pair in pairs)
        for key in ("process", "peak", "growth")
    )
    growth = median(pair.growth for pair in pairs)
    peak = median(pair.training.peak for pair in pairs)
    sizes = (tensors, expected, growth)
    return (
        name,
        f"{pairs[0].parameters:,}",
        "exact" if all(counted) else "wrong",
        *(f"{size / 1e6:,.0f}" for size in sizes),
        off(expected, growth),
        *(f"{size / 1e6:,.0f}" for size in (process + expected, peak)),
        off(process + expected, peak),
    )


def time_row(name: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the times of a model, those of its pairs."""
    cells = [name]
    for times in ([p.seconds for p in pairs], [p.processor_seconds for p in pairs]):
        planned, was = ([each[place] for each in times] for place in (0, 1))
        cells += [f"{median(planned):.1f}", f"{median(was):.1f}"]
        cells += [", ".join(off(*each) for each in times)]
    return tuple(cells)


def tables_of(pairs: dict[str, list[Pair]]) -> list[Table]:
    """Return the figures of each model."""
    return [
        Table(
            "Parameters, and memory in MB",
            (
                *("model", "parameters", "planned", "tensors, planned", "growth, planned"),
                *("growth of the run", "off", "process, planned", "peak of the run", "off"),
            ),
            [memory_row(name, found) for name, found in pairs.items()],
            "Tensors: the most that live at a time. Growth: of the resident memory beyond "
            "libraries and data, which the plan states apart. Process: both.",
        ),
        Table(
            "Time of the whole command",
            (
                *("model", "planned, s", "the run, s", "off, by pair"),
                *("planned, processor s", "the run, processor s", "off, by pair"),
            ),
            [time_row(name, found) for name, found in pairs.items()],
        ),
    ]


def measure(asked: Asked) -> Found:
    """Plan and train every model."""
    pairs: dict[str, list[Pair]] = {}
    rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        write_data(directory)
        for case in CASES[:1] if asked.quick else CASES:
            file = directory / "prepared.yaml"
            file.write_text(yaml.safe_dump(case.settings(directory)), encoding="utf-8")
            run_quietly([sys.executable, "-m", "model_foundry", "prepare", str(file)])
            found = [run_pair(case, directory, number) for number in range(rounds)]
            pairs[case.architecture] = found
            say(" ".join(memory_row(case.architecture, found)))
            say(" ".join(time_row(case.architecture, found)))
    return Found(tables=tables_of(pairs))


if __name__ == "__main__":
    run_alone(measure, __doc__)
