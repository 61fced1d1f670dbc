"""The laws of every optimizer and schedule in whole runs: they learn, and resume exactly."""

import logging
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry import train
from model_foundry.config import OPTIMIZERS, SCHEDULES
from model_foundry.doctor.same_run import differences
from model_foundry.errors import Interrupted, ResumeError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.failpoints import watching
from model_foundry.foundation.interrupts import handle_signals, stop_requested
from model_foundry.model import create_model
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.step_batches import StepBatch
from tests.experiments import tiny_experiment
from tests.training.test_loop import learner_of, ragged_batch, without_dropout

KINDS = ["gpt2", "bert", "lstm", "gru", "rnn"]
RATES = {"sgd": 0.5, "adafactor": 0.05, "adagrad": 0.05, "adadelta": 1.0, "radam": 0.2}
"""Learning rates of optimizers for which 0.01 is too low."""
OWN = {"sgd": "{momentum: 0.9}", "rmsprop": "{momentum: 0.5, centered: true}"}
"""Settings with which an optimizer keeps all that it can keep."""
PLATEAUS = "{factor: 0.5, patience: 0, threshold: 0.5}"  # which no evaluation here improves by
SECTIONS = {"reduce_lr_on_plateau": PLATEAUS, "cosine_with_restarts": "{num_cycles: 2}"}
BUILT_IN = {
    registry.kind: [s.name for s in registry.known() if s.target.startswith("model_foundry.")]
    for registry in (OPTIMIZERS, SCHEDULES)
}


def with_optimizer(name: str) -> list[str]:
    settings = [f"training.optimizer={name}", f"training.learning_rate={RATES.get(name, 0.01)}"]
    return [*settings, *([f"training.{name}={OWN[name]}"] if name in OWN else [])]


def with_schedule(name: str) -> list[str]:
    own = [f"training.{name}={SECTIONS[name]}"] if name in SECTIONS else []
    return [f"training.lr_scheduler_type={name}", "training.min_learning_rate=1e-4", *own]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BUILT_IN["optimizer"])
def test_an_update_changes_every_parameter_and_a_few_lower_the_loss(
    name: str, kind: str, tmp_path: Path
) -> None:
    config = without_dropout(kind, tmp_path, *with_optimizer(name))
    model = create_model(config)
    learner = learner_of(config, model)
    step = StepBatch.of([ragged_batch(config, rows=8)], learner.objective)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rate = config.training.learning_rate
    losses = [learner.take_step(step, step=0, learning_rate=rate).loss]
    still = [n for n, parameter in model.named_parameters() if torch.equal(parameter, before[n])]
    assert still == []
    losses += [learner.take_step(step, step=n, learning_rate=rate).loss for n in range(1, 8)]
    assert losses[-1] < losses[0] - 0.05


# --- resuming -------------------------------------------------------------------------------------


def interrupted(directory: Path, point: str, *settings: str, step: int) -> Path:
    """Stop a run by a signal at a point, resume it, and return its directory."""
    config = tiny_experiment("lstm", directory, *settings)

    def stop(reached: str) -> None:
        if reached == point:
            signal.raise_signal(signal.SIGTERM)
            while stop_requested() is None:  # a thread takes note of it
                time.sleep(0.001)

    with handle_signals(), watching(stop), pytest.raises(Interrupted, match="SIGTERM"):
        train(config)
    assert RunDirectory(config.output_dir).checkpoint(step).is_dir()
    return train(config).output_dir


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN["optimizer"])
def test_a_resumed_optimizer_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    settings = with_optimizer(name)
    whole = train(tiny_experiment("lstm", tmp_path / "whole", *settings)).output_dir
    cut = interrupted(tmp_path / "cut", "step 3 made", *settings, step=3)
    assert differences(whole, cut) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "point"),
    [
        *((name, "step 5 made") for name in BUILT_IN["schedule"]),
        # between a checkpoint and the evaluation of its step, and after that evaluation
        ("reduce_lr_on_plateau", "step 4 made"),
        ("reduce_lr_on_plateau", "step 4 evaluated"),
    ],
)
def test_a_resumed_schedule_is_the_uninterrupted_one(name: str, point: str, tmp_path: Path) -> None:
    settings = [*with_schedule(name), "training.max_steps=8", "training.eval_steps=2"]
    settings += ["training.save_steps=3"]
    whole = train(tiny_experiment("lstm", tmp_path / "whole", *settings)).output_dir
    cut = interrupted(tmp_path / "cut", point, *settings, step=int(point.split()[1]))
    assert differences(whole, cut) == []


def rates(run: Path) -> list[float]:
    lines = read_metrics(run / "metrics.jsonl")
    return [line["train/learning_rate"] for line in lines if "train/learning_rate" in line]


def test_plateaus_lower_the_rate_of_the_updates_after_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="model_foundry")
    settings = [*with_schedule("reduce_lr_on_plateau"), "training.max_steps=9"]
    run = train(tiny_experiment("lstm", tmp_path, *settings, "training.eval_steps=2")).output_dir
    # in the warm-up of two steps nothing is counted before step 2, whose evaluation is the first
    assert rates(run) == [0.005, 0.01, 0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025, 0.00125]
    told = [record.message for record in caplog.records if "has not improved" in record.message]
    assert [line.partition(":")[0] for line in told] == ["step 4", "step 6", "step 8", "step 9"]
    assert told[0].startswith("step 4: loss has not improved on ")
    assert told[0].endswith(" in 1 evaluation; learning rate 0.01 -> 0.005")
    counters: Any = read_state(run / "checkpoints" / "step-00000009").counters
    assert counters.plateau.reductions == 3  # the checkpoint precedes the evaluation of its step


def test_other_steps_of_evaluation_are_another_run_for_a_schedule_that_follows_them(
    tmp_path: Path,
) -> None:
    settings = [*with_schedule("reduce_lr_on_plateau"), "training.save_steps=2"]
    interrupted(tmp_path, "step 4 made", *settings, "training.eval_steps=2", step=4)
    with pytest.raises(ResumeError, match=r"training\.eval_steps: 2 -> 3"):
        train(tiny_experiment("lstm", tmp_path, *settings, "training.eval_steps=3"))


# --- clipping by value, and the fewest passes -----------------------------------------------------


def test_gradients_are_cut_to_their_largest_value(tmp_path: Path) -> None:
    """SGD moves a weight by the rate times its gradient; the logged norm is that before."""
    settings = (*with_optimizer("sgd"), "training.sgd={momentum: 0.0}", "training.weight_decay=0")
    config = without_dropout("lstm", tmp_path, *settings)
    found = {}
    for limit in (None, 1e-4):
        model = create_model(config)
        learner = learner_of(config, model, max_grad_norm=None, max_grad_value=limit)
        step = StepBatch.of([ragged_batch(config, rows=4)], learner.objective)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        norm = learner.take_step(step, step=0, learning_rate=1.0).grad_norm
        moved = [b - p.detach() for b, p in zip(before, model.parameters(), strict=True)]
        found[limit] = norm, torch.cat([each.flatten() for each in moved])
    (norm, plain), (same, cut) = found[None], found[1e-4]
    assert norm == same > 0.01
    torch.testing.assert_close(cut, plain.clamp(-1e-4, 1e-4), rtol=0, atol=1e-6)
    assert plain.abs().max() > 1e-2


@pytest.mark.slow
def test_a_run_with_a_limit_of_values_resumes_exactly(tmp_path: Path) -> None:
    settings = ["training.max_grad_value=1e-3"]
    whole = train(tiny_experiment("lstm", tmp_path / "whole", *settings)).output_dir
    cut = interrupted(tmp_path / "cut", "step 3 made", *settings, step=3)
    assert differences(whole, cut) == []
    assert differences(whole, train(tiny_experiment("lstm", tmp_path / "other")).output_dir)
