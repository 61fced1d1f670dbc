"""The smallest run with every stage, and the checks after a fault and a resume."""

import re
from collections.abc import Callable
from pathlib import Path

from model_foundry.config import ExperimentConfig
from model_foundry.doctor.same_run import differences
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from model_foundry.foundation.atomic_files import PREFIXES, find_damage
from model_foundry.foundation.failpoints import watching
from model_foundry.training.checkpoint.choice import step_directories
from tests.experiments import tiny_experiment

KIND = "lstm"
HORIZON, SAVE_STEPS = 8, 2
SMALLEST = ("model.rnn.embedding_size=8", "model.rnn.hidden_size=8", "model.rnn.num_layers=1")
SHORT = (
    "data.document=line",
    "tokenizer.vocab_size=270",
    f"training.max_steps={HORIZON}",
    f"training.save_steps={SAVE_STEPS}",
    "training.eval_steps=3",
    "training.gradient_accumulation_steps=2",
)
GOES_ON = re.compile(r"attempt \d+ resumes from \S*step-(\d+)")


def of_any_kind(corpus: Path, directory: Path, *overrides: str) -> tuple[str, ...]:
    """Return the overrides of a short run, with a cache of its own below `directory`."""
    places = {
        "data.train": corpus / "train.txt",
        "data.validation": corpus / "validation.txt",
        "data.cache_dir": directory / "cache",
    }
    return (*SHORT, *(f"{field}={place}" for field, place in places.items()), *overrides)


def settings(corpus: Path, directory: Path, *overrides: str) -> tuple[str, ...]:
    """Return the overrides of the smallest run, with a cache of its own below `directory`."""
    return (*SMALLEST, *of_any_kind(corpus, directory, *overrides))


def experiment(corpus: Path, directory: Path, *overrides: str) -> ExperimentConfig:
    """Return the smallest run, which writes to `directory / "run"` and `directory / "cache"`."""
    return tiny_experiment(KIND, directory, *settings(corpus, directory, *overrides))


def train_smallest(
    corpus: Path,
    directory: Path,
    *overrides: str,
    around: Callable[[str], None] | None = None,
    **options: bool,
) -> None:
    """Train the smallest run in this process.

    Args:
        around: called with the name of each failpoint; None: nothing is.
    """
    with watching(around or (lambda point: None)):
        train(experiment(corpus, directory, *overrides), **options)


def debris(*places: Path) -> list[Path]:
    """Return half-written and half-deleted directories and files below `places`."""
    found = (path for place in places for path in place.rglob(".*"))
    return [path for path in found if path.name.startswith(PREFIXES)]


def damaged(run: Path) -> dict[str, str]:
    """Return the damage of each committed directory of a run that is not whole."""
    whole = [*step_directories(run / "checkpoints"), run / "model", run / "tokenizer"]
    faults = {path.name: find_damage(path) for path in whole if path.exists()}
    return {name: fault for name, fault in faults.items() if fault is not None}


def whole_steps(run: Path) -> list[int]:
    """Return the steps of the checkpoints that verify, oldest first."""
    return [
        int(p.name[5:]) for p in step_directories(run / "checkpoints") if find_damage(p) is None
    ]


def starting_step(stderr: str) -> int:
    """Return the step from which an attempt resumed, by its own message; 0: from the beginning."""
    found = GOES_ON.search(stderr)
    return int(found[1]) if found else 0


def faults_of_finished(directory: Path, reference: Path) -> list[str]:
    """Return every reason that a run is not complete, whole, clean and equal to `reference`."""
    run = directory / "run"
    status = RunDirectory(run).status()
    state = status.state if status else "no status"
    return [
        *([f"status: {state}"] if state != "completed" else []),
        *(f"{name}: {fault}" for name, fault in damaged(run).items()),
        *(f"{path}: was left" for path in debris(directory)),
        *differences(reference, run),
    ]
