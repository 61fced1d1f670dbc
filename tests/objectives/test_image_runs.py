"""Image classification, killed and resumed, and in two processes that train one run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model_foundry.config import validate
from model_foundry.doctor.same_run import differences
from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, Fault, in_child, launched, striking
from tests.pictures import write_folder

pytestmark = pytest.mark.slow


MODELS: dict[str, dict[str, Any]] = {
    "dense": {"dense": {"hidden_sizes": [8]}},
    "vit": {
        # a key's bias has no effect, so that its gradient is rounding, which Adam would enlarge
        "backbone": {
            **{"layers": 1, "hidden_size": 8, "attention_heads": 2, "bias": False},
            **{"attention_dropout": 0.0},
        },
        "vit": {"patch_size": 3},
    },
}


def model_of(architecture: str, dropout: float) -> dict[str, Any]:
    """Return the section `model` of an architecture, with this dropout."""
    own, *others = MODELS[architecture].items()
    first = {own[0]: own[1] | {"dropout": dropout}}
    return {"architecture": architecture, **first, **dict(others)}


def train_pictures(
    place: Path, architecture: str, rows: int, dropout: float, fault: Fault | None = None
) -> None:
    """Train on the folder beside `place`: four images a step, so many at once."""
    training: dict[str, Any] = {
        **{"objective": "image_classification", "max_steps": 16, "learning_rate": 0.02},
        **{"image_classification": {"channels": 1}, "per_device_train_batch_size": rows},
        "gradient_accumulation_steps": 4 // rows,
        **{"eval_steps": 8, "save_steps": 4, "logging_steps": 2, "dataloader_num_workers": 1},
    }
    raw = {
        "experiment_name": "pictures",
        "output_dir": str(place),
        "data": {"train": {"images": str(place.with_name("pictures"))}, "validation_fraction": 0.3},
        "model": model_of(architecture, dropout),
        "training": training,
    }
    with watching(striking(fault)):
        train(validate(raw, "pictures"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with pictures."""
    write_folder(tmp_path / "pictures", 8)
    return tmp_path


@pytest.mark.parametrize("architecture", MODELS)
def test_a_killed_run_that_resumes_is_the_uninterrupted_one(architecture: str, place: Path) -> None:
    run, whole = place / "killed", place / "whole"
    in_child(train_pictures, whole, architecture, 4, 0.2, code=0)
    for step in (6, 11):
        in_child(train_pictures, run, architecture, 4, 0.2, Fault(f"step {step} made"), code=KILLED)
    in_child(train_pictures, run, architecture, 4, 0.2, code=0)
    assert differences(whole, run) == []


@pytest.mark.parametrize("architecture", MODELS)
def test_two_processes_learn_what_one_learns(architecture: str, place: Path) -> None:
    one, two = place / "one", place / "two"
    in_child(train_pictures, one, architecture, 4, 0.0, code=0)
    for ended in launched(*[(train_pictures, two, architecture, 2, 0.0)] * 2):
        assert ended.code == 0, ended.stderr
    logs = [read_metrics(run / "metrics.jsonl") for run in (one, two)]
    for name in ("train/loss", "eval/loss", "eval/accuracy"):
        expected, found = ([line[name] for line in log if name in line] for log in logs)
        assert expected and found == pytest.approx(expected, rel=1e-4)
    expected, found = (load_file(run / "model" / "model.safetensors") for run in (one, two))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
