"""The laws of the training loop, over every kind of model."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_foundry import train
from model_foundry.architectures import BaseLanguageModel, GPT2Model
from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.examples import Ragged
from model_foundry.data.batches.loaders import Batch, training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.doctor.same_run import differences
from model_foundry.errors import NonFiniteError
from model_foundry.experiment import attempt
from model_foundry.model import create_model, load_model
from model_foundry.objectives import language
from model_foundry.objectives.preparation import objective_of, prepare
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.loop import Loop, _stop_message
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.state import TrainState
from model_foundry.training.step import Learner
from model_foundry.training.step_batches import StepBatch
from tests.experiments import MODELS, tiny_experiment

KINDS = sorted(MODELS)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def logged_losses(output_dir: Path) -> list[float]:
    lines = read_metrics(output_dir / "metrics.jsonl")
    return [line["train/loss"] for line in lines if "train/loss" in line]


def a_step(
    config: ExperimentConfig, micro_batches: list[Batch]
) -> tuple[BaseLanguageModel, StepResult]:
    """Make one update of a fresh model, without dropout."""
    learner = learner_of(config, create_model(config))
    batch = StepBatch.of(micro_batches, learner.objective)
    return learner.model, learner.take_step(batch, step=0, learning_rate=0.01)


def learner_of(
    config: ExperimentConfig,
    model: BaseLanguageModel,
    *,
    max_grad_norm: float | None = 1.0,
    max_grad_value: float | None = None,
) -> Learner:
    accelerator = start_accelerator(config.training)
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config.training))
    guard = NonFiniteGuard(at_once=True)
    return Learner(
        model=model,
        optimizer=optimizer,
        objective=objective_of(config),
        accelerator=accelerator,
        guard=guard,
        max_grad_norm=max_grad_norm,
        max_grad_value=max_grad_value,
    )


def without_dropout(kind: str, directory: Path, *overrides: str) -> ExperimentConfig:
    both = ("dropout", "attention_dropout")
    names = {"backbone": both, "transformer": both, "rnn": ("dropout",)}
    no_dropout = ["training.mixed_precision=no"]
    for section in MODELS[kind].keys() & names:
        no_dropout += [f"model.{section}.{name}=0.0" for name in names[section]]
    return tiny_experiment(kind, directory, *no_dropout, *overrides)


def ragged_batch(config: ExperimentConfig, rows: int) -> Batch:
    """Return rows of different lengths, so that micro-batches differ in their number of labels."""
    prepared = prepare(config)
    examples = prepared.train.read([(0, index) for index in range(rows)])
    ids = [row[: 16 - 2 * (i % 5)] for i, row in enumerate(examples.columns["input_ids"].rows())]
    cut = replace(examples, columns={"input_ids": Ragged.of(ids)})
    return Batch(prepared.collate(cut), {"tokens": 1, "words": 1}, examples.keys)


def rows_of(batch: Batch, part: slice) -> Batch:
    inputs = {name: tensor[part] for name, tensor in batch.inputs.items()}
    return replace(batch, inputs=inputs, keys=batch.keys[part])


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_does_not_depend_on_how_the_step_is_cut(kind: str, tmp_path: Path) -> None:
    config = without_dropout(kind, tmp_path)
    batch = ragged_batch(config, rows=8)
    whole, result = a_step(config, [batch])
    parts, cut_result = a_step(config, [rows_of(batch, slice(i, i + 2)) for i in range(0, 8, 2)])
    assert cut_result.loss == pytest.approx(result.loss, rel=1e-5)
    assert cut_result.grad_norm == pytest.approx(result.grad_norm, rel=1e-4)
    # AdamW's first update is lr times the sign of the gradient, so compare the gradients' norm
    # above, and here the weights up to entries whose gradient is close to zero
    for name, tensor in weights_of(whole).items():
        close = torch.isclose(weights_of(parts)[name], tensor, atol=1e-4)
        assert close.float().mean() > 0.999, name


@pytest.mark.parametrize("kind", KINDS)
def test_loss_of_a_step_is_the_mean_over_its_labels(kind: str, tmp_path: Path) -> None:
    config = without_dropout(kind, tmp_path)
    batch = ragged_batch(config, rows=6)
    model = create_model(config)
    _, result = a_step(config, [rows_of(batch, slice(0, 1)), rows_of(batch, slice(1, 6))])
    logits = model(**{k: v for k, v in batch.inputs.items() if k != "labels"}).logits
    labels = batch.inputs["labels"]
    if config.training.objective == "causal_lm":
        logits, labels = logits[:, :-1], labels[:, 1:]
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert result.loss == pytest.approx(expected.item(), rel=1e-5)
    step = StepBatch.of([batch], objective_of(config))
    assert step.targets == {"model": int((labels != -100).sum())}


def test_update_equals_a_plain_loop_over_transformers(tmp_path: Path) -> None:
    """Oracle: transformers' own GPT-2 and loss, torch's own AdamW and clipping."""
    config = without_dropout("gpt2", tmp_path)
    batch = ragged_batch(config, rows=4)
    reference = create_model(config).hf_model
    reference.loss_type = "ForCausalLM"
    decays = [p for p in reference.parameters() if p.dim() >= 2]
    spared = [p for p in reference.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decays, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}], lr=0.01
    )
    loss = reference(**batch.inputs, use_cache=False).loss
    loss.backward()
    norm = nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
    optimizer.step()
    model, result = a_step(config, [batch])
    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    assert result.grad_norm == pytest.approx(norm.item(), rel=1e-5)
    for (name, ours), theirs in zip(
        model.hf_model.named_parameters(), reference.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_micro_batch_without_a_label_counts_for_nothing(tmp_path: Path) -> None:
    config = without_dropout("gpt2", tmp_path)
    batch = ragged_batch(config, rows=2)
    unlabelled = rows_of(batch, slice(0, 2))
    unlabelled.inputs["labels"] = torch.full_like(batch.inputs["labels"], -100)
    _, alone = a_step(config, [batch])
    _, together = a_step(config, [unlabelled, batch, unlabelled])
    assert (together.loss, together.grad_norm) == (alone.loss, alone.grad_norm)


def test_step_without_any_label_makes_no_update(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = without_dropout("gpt2", tmp_path)
    batch = ragged_batch(config, rows=2)
    batch.inputs["labels"] = torch.full_like(batch.inputs["labels"], -100)
    model, result = a_step(config, [batch])
    assert (result.loss, result.grad_norm) == (0.0, 0.0)
    assert "no label" in caplog.text
    before = weights_of(create_model(config))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(model).items())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_loss_stops_before_the_update(bad: float, tmp_path: Path) -> None:
    config = without_dropout("lstm", tmp_path)
    batch = ragged_batch(config, rows=2)
    model = create_model(config)
    with torch.no_grad():
        next(model.parameters())[7].fill_(bad)
        batch.inputs["input_ids"][:, 0] = 7
    learner = learner_of(config, model)
    before = weights_of(model)
    step = StepBatch.of([batch], learner.objective)
    with pytest.raises(NonFiniteError, match=r"step 5: loss .* at learning rate 0\.01"):
        learner.take_step(step, step=4, learning_rate=0.01)
    after = weights_of(model)
    assert all(torch.equal(after[name].nan_to_num(), t.nan_to_num()) for name, t in before.items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_cadence_never_changes_what_is_trained(kind: str, tmp_path: Path) -> None:
    """Evaluating, saving and logging at every step gives the same weights, bit for bit."""
    quiet = train(tiny_experiment(kind, tmp_path / "quiet", "training.logging_steps=1"))
    busy = train(
        tiny_experiment(kind, tmp_path / "busy", "training.eval_steps=1", "training.save_steps=2")
    )
    expected, got = (weights_of(load_model(r.model_dir)) for r in (quiet, busy))
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    losses = [
        [
            line["train/loss"]
            for line in read_metrics(r.output_dir / "metrics.jsonl")
            if "train/loss" in line
        ]
        for r in (quiet, busy)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_dropout_follows_its_seed_and_nothing_else(tmp_path: Path) -> None:
    def weights(name: str, *overrides: str) -> Tensor:
        torch.manual_seed(ord(name))  # whatever was drawn before must not matter
        result = train(tiny_experiment("gpt2", tmp_path / name, *overrides))
        return load_model(result.model_dir).get_input_embeddings().weight.detach()

    same = [weights(name, "seed={init: 1, data: 2, dropout: 3}") for name in ("a", "b")]
    other = weights("c", "seed={init: 1, data: 2, dropout: 4}")
    assert torch.equal(*same)
    assert not torch.equal(same[0], other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "bidirectional lstm"])
def test_workers_do_not_change_the_batches(kind: str, tmp_path: Path) -> None:
    config = tiny_experiment(kind, tmp_path)
    prepared = prepare(config)

    def first_batches(workers: int) -> Iterator[Tensor]:
        share = BatchSplit(micro_batch=4, rows_per_step=4)
        batches = training_batches(prepared.train, prepared.collate, share, seed=5, workers=workers)
        return [batch.inputs for batch, _ in zip(batches, range(5), strict=False)]

    for alone, worked in zip(first_batches(0), first_batches(2), strict=True):
        assert all(torch.equal(alone[name], worked[name]) for name in alone)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["gradient_checkpointing=true", "mixed_precision=bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_model_trains_with(setting: str, kind: str, tmp_path: Path) -> None:
    result = train(tiny_experiment(kind, tmp_path, f"training.{setting}", "training.max_steps=2"))
    assert math.isfinite(result.metrics["eval/loss"])


@pytest.mark.parametrize(("asked", "settled"), [("true", False), ("false", None)])
def test_logits_are_asked_for_only_where_they_are_wanted(
    asked: str, settled: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`settled` is the argument of the model in training and in evaluations."""
    told = []
    forward = GPT2Model.forward

    def listening(self: GPT2Model, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("labels") is not None:
            told.append((self.training, kwargs.get("return_logits")))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(GPT2Model, "forward", listening)
    monkeypatch.setattr(language, "require_no_leak", lambda *given, **known: None)
    train(tiny_experiment("gpt2", tmp_path, f"training.speed.loss_without_logits={asked}"))
    assert {*told} == {(True, settled), (False, settled)}


def test_training_leaves_the_callers_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train(tiny_experiment("gpt2", tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


class InPieces(Loop):
    """Runs in several calls, some of which have nothing to do."""

    def run(self, until: int | None = None) -> None:
        steps = []
        for last in (2, 2, 1, 5, None, 99):
            super().run(last)
            steps.append(self.context.state.step)
        assert steps == [2, 2, 2, 5, 8, 8]


def test_a_loop_in_pieces_is_that_in_one_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [f"training.{each}" for each in ("max_steps=8", "save_steps=3", "eval_steps=2")]
    whole = train(tiny_experiment("lstm", tmp_path / "whole", *settings)).output_dir
    monkeypatch.setattr(attempt, "Loop", InPieces)
    pieces = train(tiny_experiment("lstm", tmp_path / "pieces", *settings)).output_dir
    assert differences(whole, pieces) == []
    assert len(read_metrics(pieces / "metrics.jsonl")) == 8 + 4
    for run in (whole, pieces):
        assert sorted(p.name[-1] for p in (run / "checkpoints").iterdir()) == ["3", "6", "8"]


@pytest.mark.parametrize(
    ("step", "saved", "said"),
    [
        (0, None, "stopped before the first step"),
        (7, 7, "saved at step 7"),
        (7, 5, "stopped after step 7, which is not saved"),
        (7, None, "stopped after step 7, which is not saved"),
    ],
)
def test_a_stop_says_what_is_saved(step: int, saved: int | None, said: str) -> None:
    state = TrainState(step=step, last_good_step=saved)
    assert _stop_message(state) == f"a signal to another process: {said}"
