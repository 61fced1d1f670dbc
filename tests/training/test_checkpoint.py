"""What a checkpoint holds, and that there is nothing where saving failed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model_foundry import train
from model_foundry.durable import MANIFEST, file_sha256
from model_foundry.errors import SaveError
from model_foundry.experiment import RunResult
from model_foundry.model import create_model
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.training import checkpoint
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.state import TrainState
from tests.experiments import tiny_experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    directory = tmp_path_factory.mktemp("checkpoints")
    return train(tiny_experiment("lstm", directory, "training.save_steps=4"))


def test_checkpoints_come_at_their_steps_and_at_the_end(run: RunResult) -> None:
    names = sorted(path.name for path in (run.output_dir / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000006"]


def test_manifest_lists_every_file_with_its_digest(run: RunResult) -> None:
    directory = run.output_dir / "checkpoints" / "step-00000006"
    manifest = json.loads((directory / MANIFEST).read_text())
    listed = {entry["name"]: entry for entry in manifest["files"]}
    files = {path.name for path in directory.iterdir()} - {MANIFEST}
    assert set(listed) == files
    for name, entry in listed.items():
        assert entry["sha256"] == file_sha256(directory / name)
        assert entry["bytes"] == (directory / name).stat().st_size


def test_nothing_is_pickled(run: RunResult) -> None:
    kinds = {path.suffix for path in run.output_dir.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".jsonl", ".yaml", ".safetensors", ".py", ".model"}


def test_state_counts_what_was_seen(run: RunResult) -> None:
    directory = run.output_dir / "checkpoints" / "step-00000004"
    state = json.loads((directory / "state.json").read_text())
    assert state["step"] == 4
    assert state["blocks_seen"] == 16  # 4 steps of 4 rows
    assert state["tokens_seen"] == 256  # of 16 tokens each
    assert 0 < state["words_seen"] < 256


def test_optimizer_tensors_stand_under_their_parameters_names(run: RunResult) -> None:
    directory = run.output_dir / "checkpoints" / "step-00000006"
    tensors = load_file(directory / "optimizer.safetensors")
    model = create_model(tiny_experiment("lstm", run.output_dir.parent))
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, shape in shapes.items():
        assert tensors[f"{name}/exp_avg"].shape == tensors[f"{name}/exp_avg_sq"].shape == shape
        assert tensors[f"{name}/step"].item() == 6
    assert len(tensors) == 3 * len(shapes)


def test_last_checkpoint_holds_the_final_model(run: RunResult) -> None:
    final = load_file(run.model_dir / "model.safetensors")
    last = load_file(run.output_dir / "checkpoints" / "step-00000006" / "model.safetensors")
    assert all(torch.equal(final[name], last[name]) for name in final | last)


def test_failed_save_leaves_nothing_behind(
    run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    config = tiny_experiment("lstm", run.output_dir.parent)
    model = create_model(config)
    with pytest.raises(SaveError, match="No space left on device"):
        checkpoint.save_checkpoint(
            tmp_path / "step-00000001",
            model,
            load_tokenizer(run.model_dir),
            optimizer=build_optimizer(model, config.training),
            state=TrainState(),
        )
    assert list(tmp_path.iterdir()) == []
