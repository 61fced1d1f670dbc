"""What `foundry plan` predicts against the run that follows it: parameters, memory, time.

    python -m benchmarks.plan [--rounds 2]

Each model is planned without a step of measurement, for its memory, planned with `--measure`, for
its time, and trained at once after that, each in a process of its own. The peak of the training is
the largest resident memory that the system reports of its process. A machine that others use
changes its speed by the minute, so a plan and its run are a pair.
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
        steps=30,
    ),
    Case(
        architecture="bert",
        objective="masked_lm",
        section={"transformer": TRANSFORMER},
        batch=16,
        steps=30,
    ),
    _recurrent("lstm", steps=20),
    _recurrent("gru", steps=20),
    _recurrent("rnn", steps=40),
    Case(
        architecture="t5",
        objective="span_denoising",
        section={"transformer": BACKBONE},
        batch=32,
        steps=30,
    ),
    Case(
        architecture="vit",
        objective="image_classification",
        section={"backbone": BACKBONE, "vit": {"patch_size": 4}},
        batch=64,
        steps=40,
    ),
)


def write_data(directory: Path) -> None:
    """Write the corpus and the images."""
    with (directory / "corpus.txt").open("w", encoding="utf-8") as file:
        file.writelines(made_up_words(WORDS, vocabulary=VOCABULARY))
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8)
    np.savez(directory / "images.npz", image=images, label=np.arange(IMAGES) % CLASSES)


def run_measured(command: Sequence[str]) -> tuple[str, float, int]:
    """Run a command; return its output, its seconds, and the peak of its resident bytes.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.perf_counter()
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return output, time.perf_counter() - begun, usage.ru_maxrss * 1024  # KiB on Linux


def plan(file: Path, *options: str) -> dict[str, Any]:
    """Return the plan of an experiment file."""
    output, _, _ = run_measured([*FOUNDRY, "plan", str(file), "--json", *options])
    found: dict[str, Any] = json.loads(output)
    return found


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A plan, and the run that followed it."""

    planned: dict[str, Any]
    """Without a measurement."""
    timed: dict[str, Any]
    """With `--measure`."""
    parameters: int
    seconds: float
    peak: int

    @property
    def growth(self) -> int:
        """Bytes by which the run has grown beyond libraries and data."""
        return self.peak - int(self.planned["memory"]["process"])


def run_pair(case: Case, directory: Path, number: int) -> Pair:
    """Plan a run, and make it."""
    settings = case.settings(directory)
    settings["output_dir"] += f"-{number}"
    file = directory / f"{case.architecture}.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    planned, timed = plan(file), plan(file, "--measure")
    output, seconds, peak = run_measured([*FOUNDRY, "train", str(file)])
    [size] = re.findall(r"^size +([\d,]+) parameters", output, re.M)
    return Pair(
        planned=planned,
        timed=timed,
        parameters=int(size.replace(",", "")),
        seconds=seconds,
        peak=peak,
    )


def tables_of(pairs: dict[str, list[Pair]]) -> list[Table]:
    """Return the figures of each model, the median of its pairs."""
    memory, times = [], []
    for name, found in pairs.items():
        planned = found[0].planned
        counted = "exact" if planned["parameters"]["total"] == found[0].parameters else "WRONG"
        growth = median(pair.growth for pair in found)
        expected = median(int(pair.planned["memory"]["growth"]) for pair in found)
        whole = median(int(p.planned["memory"]["process"]) for p in found) + expected
        peak = median(pair.peak for pair in found)
        tensors = planned["memory"]["peak"]
        memory.append(
            (
                name,
                f"{found[0].parameters:,}",
                counted,
                f"{tensors / 1e6:,.0f}",
                f"{expected / 1e6:,.0f}",
                f"{growth / 1e6:,.0f}",
                f"{expected / growth - 1:+.0%}",
                f"{whole / 1e6:,.0f}",
                f"{peak / 1e6:,.0f}",
                f"{whole / peak - 1:+.0%}",
            )
        )
        ratios = [pair.timed["time"]["in_all"] / pair.seconds - 1 for pair in found]
        times.append(
            (
                name,
                f"{median(pair.timed['time']['in_all'] for pair in found):.1f}",
                f"{median(pair.seconds for pair in found):.1f}",
                ", ".join(f"{ratio:+.0%}" for ratio in ratios),
            )
        )
    return [
        Table(
            "Parameters and memory, MB",
            (
                *("model", "parameters", "planned", "tensors, planned", "growth, planned"),
                *("growth of the run", "off", "process, planned", "peak of the run", "off"),
            ),
            memory,
            "Tensors: the most that live at a time. Growth: of the resident memory beyond libraries"
            " and data, which the plan states apart. Process: both.",
        ),
        Table(
            "Time of the whole command, s",
            ("model", "planned with --measure", "the run", "off, by pair"),
            times,
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
            last = found[-1]
            say(
                f"{case.architecture}: growth {last.planned['memory']['growth'] / 1e6:,.0f} "
                f"of {last.growth / 1e6:,.0f} MB, time {last.timed['time']['in_all']:.1f} of "
                f"{last.seconds:.1f} s"
            )
    return Found(tables=tables_of(pairs))


if __name__ == "__main__":
    run_alone(measure, __doc__)
