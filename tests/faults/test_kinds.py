"""Each kind of task and architecture: killed, resumed, damaged, and trained by two processes.

The runs are those of `tests/faults/kinds.py`; what can happen within a save is tested with the
smallest run in `test_kills` and `test_damage`.
"""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model_foundry.config import OBJECTIVES
from model_foundry.model import load_model
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, Fault, in_child, launched
from tests.faults.kinds import KINDS, train_kind, without_dropout, write_data
from tests.faults.runs import faults_of_finished, whole_steps

pytestmark = pytest.mark.slow

SGD = ("training.optimizer=sgd", "training.learning_rate=0.2", "training.max_steps=4")
UNLIKE = ("time", "attempt", "_per_second", "memory_mib")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the data of all tasks."""
    directory = tmp_path_factory.mktemp("kinds")
    write_data(directory / "data")
    return directory


def test_each_kind_of_model_that_is_built_in_has_a_run() -> None:
    kinds = {OBJECTIVES[objective].model_kind for objective, _ in KINDS.values()}
    assert kinds == {spec.model_kind for spec in OBJECTIVES.known()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_resumes_from_what_is_whole_and_ends_as_the_uninterrupted_one(
    kind: str, place: Path
) -> None:
    """Killed after step 7; of two copies, one has its newest checkpoint damaged."""
    whole, killed, harmed = (place / f"{name} {kind}" for name in ("whole", "killed", "harmed"))
    in_child(train_kind, kind, whole, code=0)
    in_child(train_kind, kind, killed, (), Fault("step 7 made"), code=KILLED)
    assert whole_steps(killed / "run") == [2, 4, 6]
    shutil.copytree(killed, harmed)
    newest = harmed / "run" / "checkpoints" / "step-00000006"
    weights = newest / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    for directory, start in ((killed, 6), (harmed, 4)):
        again = () if directory is killed else (f"output_dir={harmed / 'run'}",)
        said = in_child(train_kind, kind, directory, again, code=0).stderr
        assert f"step-{start:08d}" in said and "resumes from" in said
        assert faults_of_finished(directory, whole / "run") == []
    assert (newest.parent / f"damaged-{newest.name}").is_dir()
    load_model(whole / "run" / "model")


@pytest.mark.torture
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_after_every_step_ends_as_the_uninterrupted_one(
    kind: str, place: Path
) -> None:
    whole, killed = place / f"unbroken {kind}", place / f"broken {kind}"
    saving = ("training.save_steps=1",)
    in_child(train_kind, kind, whole, saving, code=0)
    for step in range(1, 9):
        in_child(train_kind, kind, killed, saving, Fault(f"step {step} made"), code=KILLED)
        assert whole_steps(killed / "run") == list(range(1, step))
        # the step that was made again is saved before the next kill
        in_child(train_kind, kind, killed, saving, Fault(f"step-{step:08d}: verified"), code=KILLED)
    in_child(train_kind, kind, killed, saving, code=0)
    assert faults_of_finished(killed, whole / "run") == []


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_and_measure_as_one(kind: str, place: Path) -> None:
    # AdamW would enlarge differences of the last bit
    settings, one, two = (
        (*SGD, *without_dropout(kind)),
        place / f"one {kind}",
        place / f"two {kind}",
    )
    in_child(train_kind, kind, one, settings, code=0)
    for ended in launched(*[(train_kind, kind, two, settings)] * 2):
        assert ended.code == 0, ended.stderr
    for line, other in zip(log_of(two), log_of(one), strict=True):
        assert line.pop("train/batch_digest", "") == other.pop("train/batch_digest", "")
        assert line == pytest.approx(other, rel=1e-4, abs=1e-5)
    found, expected = (load_file(run / "run" / "model" / "model.safetensors") for run in (two, one))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def log_of(directory: Path) -> list[dict[str, object]]:
    lines = read_metrics(directory / "run" / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith(UNLIKE)} for line in lines]
