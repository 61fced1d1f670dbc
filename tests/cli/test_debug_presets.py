"""The presets of `debug=NAME` on a small experiment: the run that each makes, and its exit code."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from model_foundry.architectures import BaseModel
from model_foundry.config import load_config
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.objectives.losses import ModelLoss
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.step import Learner
from tests.cli.conftest import Cli

RUN = Path("debug/small")
EXPERIMENT: dict[str, Any] = {
    "experiment_name": "small",
    "data": {
        "train": {"language": {"sentences": 400}},
        "test": {"language": {"sentences": 40, "seed": 7}},
        "max_sequence_length": 16,
    },
    "tokenizer": {"tokenizer_type": "bpe", "vocab_size": 300},
    "model": {
        "architecture": "gpt2",
        "transformer": {"layers": 1, "hidden_size": 32, "attention_heads": 2},
    },
    "training": {
        "max_steps": 500,
        "warmup_steps": 100,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "eval_steps": 100,
        "save_steps": 100,
    },
}
BERT = ("model.architecture=bert", "training.objective=masked_lm")


@pytest.fixture
def here(here: Path) -> Path:
    """The current directory, with an experiment."""
    (here / "small.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    return here


def steps_of(run: Path) -> int:
    status = RunDirectory(run).status()
    assert status is not None
    return status.step


def facts(run: Path) -> dict[str, Any]:
    """Return what the preset made of a run, and what it has read."""
    found = RunDirectory(run)
    measured = found.measurement(f"loss-step-{steps_of(run):08d}") or {}
    return {
        "step": steps_of(run),
        "checkpoints": found.checkpoints.exists(),
        "limited": {key: value for key, value in measured.items() if key.endswith("limited")},
        "read": (found.measurement("data") or {}).get("limited", {}),
    }


@pytest.mark.parametrize("name", ["fast_dev_run", "fdr"])
def test_a_fast_run_makes_one_step_of_each(
    name: str, cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, torch.device]] = []
    take_step = Learner.take_step

    def noting(self: Learner, batch: Any, **more: Any) -> Any:
        made.append((batch.examples, self.accelerator.device))
        return take_step(self, batch, **more)

    monkeypatch.setattr(Learner, "take_step", noting)
    code, out, err = cli("train", "small.yaml", f"debug={name}")
    assert code == 0, err
    assert made == [(2, torch.device("cpu"))]
    found = facts(RUN)
    assert found["step"] == 1 and not found["checkpoints"]
    assert [value.partition(" ")[0] for value in found["limited"].values()] == ["2"] * 3
    assert found["read"]["train"].startswith("2 of ")
    assert out.count("measured on 2 of ") == 2
    assert sorted(path.name for path in here.iterdir()) == ["debug", "small.yaml"]
    assert [path.name for path in (here / "debug").iterdir()] == ["small"]


@pytest.mark.parametrize("name", ["default", "fast_dev_run", "limit", "overfit", "profiler"])
def test_a_preset_suits_an_experiment_that_steers_its_run(name: str, here: Path) -> None:
    steered = ("load_best_model_at_end=true", "eval_steps=100", "save_steps=100", "min_epochs=3")
    steered = (*steered, "early_stopping_patience=3", "ema_decay=0.9")
    (here / "steered.yaml").write_text(
        "extends: small.yaml\ntraining:\n"
        + "".join(f"  {each.replace('=', ': ')}\n" for each in steered)
    )
    load_config(here / "steered.yaml", overrides=[f"debug={name}"])


def test_quiet_is_quiet_under_a_preset(cli: Cli, here: Path) -> None:
    code, out, err = cli("train", "small.yaml", "debug=fdr", "--quiet")
    assert code == 0 and "loss" in out
    assert all(line.startswith("warning: ") for line in err.splitlines()), err


def test_by_default_one_epoch_shows_everything(cli: Cli, here: Path) -> None:
    workers = "training.dataloader_num_workers=1"
    code, _, err = cli("train", "small.yaml", "debug=default", workers)
    assert code == 0, err
    examples = (RunDirectory(RUN).measurement("data") or {})["train"]["tokens"]["rows"]
    found = facts(RUN)
    assert found == {
        "step": -(-examples // 16),
        "checkpoints": False,
        "limited": {},
        "read": {},
    }
    config = RunDirectory(RUN).config()
    assert (config.training.dataloader_num_workers, config.training.use_cpu) == (0, True)
    assert (config.debug.detect_anomaly, config.debug.one_process) == (True, True)
    assert "GPT2Model(" in err and "step 1 reads input_ids int64 (8, 16)" in err
    assert logging.getLogger("model_foundry").level == logging.INFO  # as the command set it
    assert sorted(path.name for path in here.iterdir()) == ["debug", "small.yaml"]


def test_the_next_run_replaces_the_last(cli: Cli, here: Path) -> None:
    assert cli("train", "small.yaml", "debug=fdr")[0] == 0
    assert cli("train", "small.yaml", "debug=fdr", "training.learning_rate=1e-4")[0] == 0
    assert [path.name for path in (here / "debug").iterdir()] == ["small"]
    assert RunDirectory(RUN).config().training.learning_rate == 1e-4


def test_a_sample_is_read_three_times(cli: Cli) -> None:
    settings = ("debug.limit_train=0.1", "training.per_device_train_batch_size=4")
    code, _, err = cli("train", "small.yaml", "debug=limit", *settings)
    assert code == 0, err
    read = facts(RUN)["read"]
    number, of = (int(word.replace(",", "")) for word in read["train"].split()[:3:2])
    assert number == round(of / 10)
    assert facts(RUN)["step"] == -(-3 * number // 8)
    for split in ("eval", "test"):
        number, of = (int(word.replace(",", "")) for word in read[split].split()[:3:2])
        assert number == max(1, round(of / 20))


@pytest.mark.parametrize("settings", [(), BERT], ids=["gpt2", "bert"])
def test_a_sound_model_overfits(settings: tuple[str, ...], cli: Cli) -> None:
    code, _, err = cli("train", "small.yaml", "debug=overfit", *settings)
    assert code == 0, err
    assert "overfit: training loss 5." in err and "below debug.overfit_below (=0.2)" in err
    found = facts(RUN)
    assert found["step"] == 3 * 20 and not found["checkpoints"]
    assert found["read"]["train"].startswith("6 of ")
    lines = read_metrics(RUN / "metrics.jsonl")
    assert [line["step"] for line in lines if "train/loss" in line] == [*range(1, 61)]


def _without_gradient(self: ModelLoss, done: Any) -> torch.Tensor:
    return done.output.loss * 0 + done.output.loss.detach()


@pytest.mark.parametrize(
    "fault",
    ["training.learning_rate=1e-12", "debug.fixed_draws=false", "no gradient"],
)
def test_a_broken_one_does_not(fault: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [fault] if "=" in fault else []
    if not settings:
        monkeypatch.setattr(ModelLoss, "mean", _without_gradient)
    code, out, err = cli("train", "small.yaml", "debug=overfit", *BERT, *settings)
    assert code == 1
    [line] = [line for line in err.splitlines() if line.startswith("error:")]
    assert line.startswith("error: the model did not learn its training examples by heart: train")
    assert "not below debug.overfit_below (=0.2); look at the labels" in line
    assert out == ""
    assert RunDirectory(RUN).status().exit_code == 1


def test_a_profile_shows_the_phases(cli: Cli) -> None:
    code, out, err = cli("train", "small.yaml", "debug=profiler")
    assert code == 0, err
    assert facts(RUN)["step"] == 20
    lines = out.splitlines()
    assert lines[0].startswith("a step takes ") and lines[1].endswith("time of the processor")
    assert {"forward", "backward", "optimizer"} <= {line.split("  ")[-1] for line in lines[2:9]}
    assert "operator" not in out
    assert not (RUN / "diagnostics").exists()


def test_a_profile_by_function(cli: Cli) -> None:
    code, out, err = cli("train", "small.yaml", "debug=profiler", "debug.profiler=advanced")
    assert code == 0, err
    assert "take_step (model_foundry/training/step.py:" in out
    assert (RUN / "diagnostics" / "functions-step-00000016.pstats").is_file()


@pytest.mark.parametrize("asked", [("debug.profiler=torch",), ("debug.profiler=null", "--profile")])
def test_a_profile_by_operator_has_a_trace(asked: tuple[str, ...], cli: Cli) -> None:
    code, out, err = cli("train", "small.yaml", "debug=profiler", *asked)
    assert code == 0, err
    lines = out.splitlines()
    [head] = [number for number, line in enumerate(lines) if line.endswith("  operator")]
    assert lines[head + 11].startswith("trace of step 16, for ui.perfetto.dev: debug/small/")
    trace = RUN / "diagnostics" / "profile-step-00000016.json.gz"
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert {"foundry: forward", "aten::embedding"} <= {event.get("name") for event in events}


def test_a_nan_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = BaseModel.get_parameter_count

    def broken(self: Any) -> int:
        with torch.no_grad():
            next(self.parameters()).fill_(torch.nan)
        return forward(self)

    monkeypatch.setattr(BaseModel, "get_parameter_count", broken)
    code, _, err = cli("train", "small.yaml", "debug=fdr", "training.max_steps=2")
    assert code == 7
    assert "step 1: the output of Embedding 'hf_model.transformer.wte' has NaN" in err


def test_an_unknown_preset_is_told_in_one_line(cli: Cli, here: Path) -> None:
    code, _, err = cli("train", "small.yaml", "debug=overfitt")
    assert code == 2
    [line] = err.splitlines()
    assert "did you mean debug=overfit?" in line
    assert not (here / "debug").exists()


def test_the_option_and_the_group_are_two_things(cli: Cli) -> None:
    code, out, _ = cli("train", "--help")
    assert code == 0
    assert "--debug           Print the traceback of an error; debug=NAME is a preset." in out
    code, _, err = cli("train", "small.yaml", "debug=fdr", "training.max_steps=0", "--debug")
    assert code == 2
    assert err.startswith("Traceback") and err.splitlines()[-1].startswith("error: override")
