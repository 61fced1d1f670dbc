"""The parts of the memory against real tensors, and the straight line over the rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from model_foundry.config import ExperimentConfig
from model_foundry.experiment.auto_settings import settle
from model_foundry.foundation.plugins import load_plugin
from model_foundry.objectives.preparation import prepare
from model_foundry.planning.memory import (
    LOADED_BY_FIRST_STEP,
    LOST_BY_ALLOCATOR,
    Peaks,
    bytes_of,
    gradient_bytes,
    growth_of,
    largest_batch,
    may_try,
    memory_before,
    plan_memory,
    tried_batch,
    try_rows,
    weight_bytes,
)
from model_foundry.planning.setup import Setup
from model_foundry.planning.trial import Trial
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.optimizer import build_optimizer
from tests.experiments import OPTIMIZED, TOY, tiny_experiment

CPU = torch.device("cpu")


def setup_of(config: ExperimentConfig) -> Setup:
    config, _ = settle(config)
    return Setup(config, prepare(config), start_accelerator(config.training))


def trial_of(config: ExperimentConfig) -> tuple[Trial, Any]:
    setup = setup_of(config)
    model = setup.new_model()
    return Trial(setup, model), model


@pytest.mark.parametrize("kind", ["adamw", *OPTIMIZED])
def test_the_state_of_each_optimizer_is_exact(kind: str, tmp_path: Path) -> None:
    settings = OPTIMIZED.get(kind, ((), set(), set()))[0]
    if kind == "toy":
        load_plugin(TOY)
    config = tiny_experiment("gpt2", tmp_path, *settings)
    trial, model = trial_of(config)
    trial.peak_of_step(2)
    optimizer = build_optimizer(model, config.training)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.1
    optimizer.step()
    kept = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
    assert bytes_of(trial.optimizer_state) == bytes_of(kept)
    if kind == "adamw":
        assert bytes_of(kept) == 2 * weight_bytes(model) + 4 * len(optimizer.state)


def test_weights_and_gradients_are_exact(tmp_path: Path) -> None:
    setup = setup_of(tiny_experiment("gpt2", tmp_path))
    model = setup.new_model()
    model.get_input_embeddings().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradient_bytes(model) == bytes_of(gradients) < weight_bytes(model)
    with torch.device("meta"):
        assert weight_bytes(setup.new_model()) == weight_bytes(model)


def test_the_parts_add_up_to_the_peak(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "training.gradient_accumulation_steps=3")
    trial, model = trial_of(config)
    peaks = try_rows(trial, 4)
    found = plan_memory(model, trial, peaks, rows=4, before=memory_before(CPU))
    assert found.optimizer is not None and found.activations is not None
    parts = found.weights + found.gradients + found.optimizer + found.activations
    assert found.peak == parts and trial.accumulates
    assert found.growth == growth_of(parts, "cpu")


def test_gradients_are_not_held_beside_the_activations_of_a_single_pass(tmp_path: Path) -> None:
    trial, model = trial_of(tiny_experiment("gpt2", tmp_path))
    peaks = try_rows(trial, 4)
    found = plan_memory(model, trial, peaks, rows=4, before=memory_before(CPU))
    assert found.peak is not None and found.optimizer is not None
    assert found.peak == found.weights + found.optimizer + (found.activations or 0)


@pytest.mark.parametrize("kind", ["gpt2", "lstm", "bert"])
def test_more_rows_are_on_the_line_of_few(kind: str, tmp_path: Path) -> None:
    trial, _ = trial_of(tiny_experiment(kind, tmp_path))
    few = try_rows(trial, 9)
    many = few.of(40)
    assert many is not None and few.at_rows < many
    assert trial.peak_of_step(40) == pytest.approx(many, rel=0.1)


def test_a_line_needs_two_points() -> None:
    assert Peaks(1, 100, None).of(1) == 100
    assert Peaks(1, 100, None).of(2) is None
    line = Peaks(4, 100, 10.0)
    assert (line.of(6), line.of(2)) == (120, 80)
    assert (line.rows_within(139), line.rows_within(50), line.rows_within(-9)) == (7, 0, 0)


@pytest.mark.parametrize(
    ("rows", "per_step", "expected"),
    [(7, 12, (6, 2)), (100, 12, (12, 1)), (5, 7, (1, 7))],
)
def test_the_largest_batch_divides_the_global_one(
    rows: int, per_step: int, expected: tuple[int, int]
) -> None:
    room = round((1000 + rows * 10 + 5) * (1 + LOST_BY_ALLOCATOR) + LOADED_BY_FIRST_STEP)
    memory = json_memory(available=room)
    found = largest_batch(memory, Peaks(1, 1010, 10.0), rows_per_step=per_step)
    assert found is not None
    assert (found.rows, found.how) == (rows, "estimated")
    assert (found.dividing, found.passes) == expected


def json_memory(**changed: Any) -> Any:
    return SimpleNamespace(**{"device": "cpu", **changed})


@pytest.mark.parametrize("most", [1, 2, 5, 31, 100])
def test_bisection_finds_what_fits(most: int) -> None:
    released = []

    def peak_of_step(rows: int) -> int:
        if rows > most:
            raise RuntimeError("CUDA out of memory")
        return rows

    trial: Any = SimpleNamespace(peak_of_step=peak_of_step, release=lambda: released.append(True))
    for guess in (1, 8, 300):
        found = tried_batch(trial, guess, rows_per_step=64)
        assert found.how == "tried"
        assert most * 31 / 32 - 1 <= found.rows <= most
    assert released


def test_other_errors_of_a_step_are_raised() -> None:
    def peak_of_step(rows: int) -> int:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        tried_batch(SimpleNamespace(peak_of_step=peak_of_step), 1, rows_per_step=1)  # type: ignore


def test_a_model_that_may_not_fit_is_not_made() -> None:
    with torch.device("meta"):
        model = torch.nn.Linear(1000, 1000)
    before = memory_before(CPU)
    four_copies = 4 * 4 * 1_001_000
    assert may_try(model, before) and may_try(model, json_memory(available=four_copies))
    assert not may_try(model, json_memory(available=four_copies - 1))
    found = plan_memory(model, None, None, rows=3, before=before)
    assert (found.optimizer, found.peak, found.growth) == (None, None, None)
    assert found.weights == found.gradients == 4 * 1_001_000
