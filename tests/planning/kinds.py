"""An experiment of seconds for every registered architecture, with data that are there."""

from pathlib import Path
from typing import Any

from model_foundry.config import ExperimentConfig, validate
from tests.experiments import MODELS, apply_override, tiny_experiment
from tests.pictures import write_folder
from tests.task_runs import raw_task, write_data

BLOCKS: dict[str, Any] = {"layers": 1, "hidden_size": 16, "attention_heads": 2}
IMAGES: dict[str, dict[str, Any]] = {
    "dense": {"architecture": "dense", "dense": {"hidden_sizes": [8]}},
    "vit": {"architecture": "vit", "backbone": BLOCKS, "vit": {"patch_size": 2}},
}
TASKS = {"t5": "denoising", "transformer": "translation"}
KINDS = (*MODELS, *TASKS, *IMAGES)


def experiment_of_kind(kind: str, directory: Path, *overrides: str) -> ExperimentConfig:
    """Return an experiment that writes below `directory`."""
    directory.mkdir(exist_ok=True)
    if kind in MODELS:
        return tiny_experiment(kind, directory, *overrides)
    if kind in TASKS:
        write_data(directory)
        return validate(raw_task(TASKS[kind], directory, *overrides), "task")
    raw = {
        "experiment_name": kind,
        "output_dir": str(directory / "run"),
        "data": {"train": {"images": str(write_folder(directory / "pictures"))}},
        "model": IMAGES[kind],
        "training": {
            "objective": "image_classification",
            "max_steps": 6,
            "per_device_train_batch_size": 4,
        },
    }
    for override in overrides:
        apply_override(raw, override)
    return validate(raw, "images")
