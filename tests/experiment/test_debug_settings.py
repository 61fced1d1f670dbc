"""Settings of `debug` that replace others, and runs that the next one replaces."""

import json
import logging
import os
import signal
from pathlib import Path

import pytest

from model_foundry.config import validate
from model_foundry.errors import ConfigError, Interrupted, ResumeError
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from model_foundry.foundation.environment_variables import LAUNCH
from model_foundry.foundation.failpoints import watching
from model_foundry.training.metrics_log import read_metrics
from tests.experiments import tiny_experiment

NO_CHECKPOINTS = "training.save_strategy=no"
START_OVER = "debug.start_over=true"


def test_one_process_has_no_workers(tmp_path: Path) -> None:
    settings = ("debug.one_process=true", "training.dataloader_num_workers=2")
    config, notes = resolve_auto_settings(
        tiny_experiment("gpt2", tmp_path, *settings), device_type="cpu"
    )
    assert config.training.dataloader_num_workers == config.data.preprocessing_num_workers == 0
    assert notes[:2] == [
        "training.dataloader_num_workers: 2 -> 0 (debug.one_process)",
        "data.preprocessing_num_workers: null -> 0 (debug.one_process)",
    ]


def test_one_process_refuses_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(LAUNCH, "0202", strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"^debug\.one_process: must be false .* here 2; start"):
        train(tiny_experiment("gpt2", tmp_path, "debug.one_process=true"))
    assert list(tmp_path.iterdir()) == []


def test_without_regularization_nothing_is_smoothed_or_decays(tmp_path: Path) -> None:
    raw = tiny_experiment("lstm", tmp_path).model_dump(exclude_unset=True)
    raw["model"]["rnn"]["bidirectional"] = True
    raw["training"] |= {
        "objective": "sequence_classification",
        "sequence_classification": {"label_smoothing": 0.2},
    }
    asked = validate(raw | {"debug": {"regularization": False}}, "labels")
    config, notes = resolve_auto_settings(asked, device_type="cpu")
    assert config.training.weight_decay == 0
    assert config.training.section_of("sequence_classification").label_smoothing == 0
    assert asked.training.section_of("sequence_classification").label_smoothing == 0.2
    reason = "(debug.regularization is false)"
    assert notes[:2] == [
        f"training.weight_decay: 0.1 -> 0.0 {reason}",
        f"training.sequence_classification.label_smoothing: 0.2 -> 0.0 {reason}",
    ]


def test_without_regularization_muon_and_the_loss_have_none_of_their_own(tmp_path: Path) -> None:
    raw = tiny_experiment("gpt2", tmp_path).model_dump(exclude_unset=True)
    raw["training"] |= {"optimizer": "muon", "muon": {"weight_decay": 0.3}}
    asked = validate(raw | {"debug": {"regularization": False}}, "muon")
    config, notes = resolve_auto_settings(asked, device_type="cpu")
    assert config.training.section_of("muon").weight_decay is None
    assert "training.muon.weight_decay: 0.3 -> null (debug.regularization is false)" in notes
    plain = tiny_experiment(
        "gpt2", tmp_path, "training.optimizer=sgd", "debug.regularization=false"
    )
    _, notes = resolve_auto_settings(plain, device_type="cpu")
    assert not any("sgd" in note for note in notes)


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ((), {"INFO"}),
        (("debug.log_level=debug",), {"INFO", "DEBUG"}),
        (("debug.log_level=error",), set()),
    ],
)
def test_the_log_has_the_level_of_the_run(
    setting: tuple[str, ...], shown: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package = logging.getLogger("model_foundry")
    package.setLevel(logging.INFO)
    train(tiny_experiment("gpt2", tmp_path, *setting))
    assert {record.levelname for record in caplog.records} - {"WARNING"} == shown
    assert package.level == logging.INFO
    lines = [record.message for record in caplog.records if record.levelname == "DEBUG"]
    if lines:
        assert lines[0].startswith("GPT2Model(")
        first = next(line for line in lines if line.startswith("step 1 reads "))
        assert first.startswith("step 1 reads input_ids int64 (4, 16), labels int64 (4, 16), of")
        assert sum(" reads " in line for line in lines) == 3


def test_a_run_without_checkpoints_has_a_model_and_starts_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "model_foundry")
    config = tiny_experiment("gpt2", tmp_path, NO_CHECKPOINTS, "training.eval_steps=2")
    first = train(config)
    run = RunDirectory(config.output_dir)
    assert not run.checkpoints.exists()
    weights = (first.model_dir / "model.safetensors").read_bytes()
    lines = len(read_metrics(run.metrics_file))
    status = run.status()
    assert (status.state, status.step, status.last_good_step) == ("completed", 6, None)
    assert first.best is not None and first.best.checkpoint is None

    train(config)
    assert "attempt 2 starts from the beginning: there was no checkpoint" in caplog.text
    assert (first.model_dir / "model.safetensors").read_bytes() == weights
    assert len(read_metrics(run.metrics_file)) == lines
    with pytest.raises(ResumeError, match="different settings"):
        train(tiny_experiment("gpt2", tmp_path, NO_CHECKPOINTS, "training.learning_rate=1e-3"))


def test_a_run_that_starts_over_replaces_only_its_like(tmp_path: Path) -> None:
    place = tmp_path / "run"
    train(tiny_experiment("gpt2", tmp_path))
    train(tiny_experiment("gpt2", tmp_path, START_OVER, NO_CHECKPOINTS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old-1"]
    assert (tmp_path / "run.old-1" / "checkpoints").is_dir()
    (place / "mine.txt").touch()
    result = train(
        tiny_experiment("gpt2", tmp_path, START_OVER, NO_CHECKPOINTS, "training.max_steps=3")
    )
    assert result.step == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old-1"]
    assert not (place / "mine.txt").exists()
    status = json.loads((place / "status.json").read_text())
    assert (status["attempt"], status["state"]) == (1, "completed")


def test_an_interrupted_run_says_that_it_starts_over(tmp_path: Path) -> None:
    def interrupt(point: str) -> None:
        if point == "step 2 made":
            os.kill(os.getpid(), signal.SIGINT)

    config = tiny_experiment("gpt2", tmp_path, NO_CHECKPOINTS)
    with (
        pytest.raises(Interrupted, match=r"run the same command again to start over$"),
        watching(interrupt),
    ):
        train(config)
    assert not (config.output_dir / "checkpoints").exists()
    assert train(config).step == 6
