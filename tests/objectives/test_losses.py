"""Losses that an experiment adds up: their gradient, their log, and when logits are computed."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from model_foundry import train
from model_foundry.architectures import GPT2Model, ModelOutput
from model_foundry.config import LOSSES, ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.model import create_model
from model_foundry.objectives import (
    ForwardPass,
    Loss,
    language,
    logit_chunks,
    losses,
    register_loss,
)
from model_foundry.objectives.forward_pass import Inputs
from model_foundry.objectives.metrics import Accuracy
from model_foundry.objectives.preparation import objective_of
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.step_batches import StepBatch
from tests.experiments import MASKED, tiny_experiment
from tests.training.test_loop import learner_of, ragged_batch, rows_of, without_dropout

WEIGHT = 0.01
TWO = f"training.losses={{model: 1.0, z_loss: {WEIGHT}}}"
KINDS = ["gpt2", "bert", "lstm", "bidirectional lstm"]


def gradients_of(config: ExperimentConfig, parts: list[slice]) -> tuple[Any, list[Tensor]]:
    """Return the result of a step in these micro-batches and its gradients, before the update."""
    batch, model = ragged_batch(config, rows=8), create_model(config)
    learner = replace(learner_of(config, model), max_grad_norm=None)
    found: list[Tensor] = []

    def keep(*_: Any, **__: Any) -> None:
        found.extend(p.grad.detach().clone() for p in model.parameters() if p.grad is not None)

    learner.optimizer.optimizer.register_step_pre_hook(keep)
    step = StepBatch.of([rows_of(batch, part) for part in parts], learner.objective)
    return learner.take_step(step, step=0, learning_rate=0.01), found


def terms_by_hand(kind: str, model: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Return cross-entropy and squared normalizer per target, computed with torch alone."""
    given = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    logits, labels = model(**given).logits, inputs["labels"]
    if kind not in MASKED:
        logits, labels = logits[:, :-1], labels[:, 1:]
    logits, labels = logits[labels != -100], labels[labels != -100]
    return F.cross_entropy(logits, labels), logits.logsumexp(-1).square().mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "parts",
    [
        [slice(0, 8)],
        [slice(0, 1), slice(1, 6), slice(6, 8)],
        [slice(i, i + 1) for i in range(8)],
    ],
    ids=["one", "uneven", "single rows"],
)
def test_two_losses_have_the_gradient_of_their_sum_by_hand(
    kind: str, parts: list[slice], tmp_path: Path
) -> None:
    config = without_dropout(kind, tmp_path, TWO)
    result, found = gradients_of(config, parts)
    model = create_model(config)
    nats, squares = terms_by_hand(kind, model, ragged_batch(config, rows=8).inputs)
    loss = nats + WEIGHT * squares
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    assert {name: float(part) for name, part in result.parts.items()} == {
        "model": pytest.approx(nats.item(), rel=1e-5),
        "z_loss": pytest.approx(squares.item(), rel=1e-5),
    }
    expected = [p.grad for p in model.parameters() if p.grad is not None]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def confidence_by_hand(logits: Tensor) -> Tensor:
    shares = logits.softmax(-1)
    return (shares * shares.log()).sum(-1).mean()


SMOOTHED = (
    "training.losses={label_smoothing: 1.0, confidence_penalty: 0.5}",
    "training.label_smoothing_factor=0.3",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [[slice(0, 8)], [slice(0, 1), slice(1, 6), slice(6, 8)]])
def test_smoothing_and_confidence_have_the_gradient_of_torch(
    kind: str, parts: list[slice], tmp_path: Path
) -> None:
    config = without_dropout(kind, tmp_path, *SMOOTHED)
    result, found = gradients_of(config, parts)
    model, inputs = create_model(config), ragged_batch(config, rows=8).inputs
    given = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    logits, labels = model(**given).logits, inputs["labels"]
    if kind not in MASKED:
        logits, labels = logits[:, :-1], labels[:, 1:]
    logits, labels = logits[labels != -100], labels[labels != -100]
    nats = F.cross_entropy(logits, labels, label_smoothing=0.3)
    loss = nats + 0.5 * confidence_by_hand(logits)
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    assert float(result.parts["label_smoothing"]) == pytest.approx(nats.item(), rel=1e-5)
    expected = [p.grad for p in model.parameters() if p.grad is not None]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_class_that_is_ruled_out_leaves_the_confidence_finite() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf]], requires_grad=True)
    figure = losses._negative_entropy(logits, torch.zeros(1))
    figure.sum().backward()
    assert figure.item() == pytest.approx(confidence_by_hand(logits.detach()[:, :2]).item())
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_a_single_loss_is_the_models_own_to_the_last_bit(tmp_path: Path) -> None:
    plain, named, doubled = (
        gradients_of(without_dropout("gpt2", tmp_path, *settings), [slice(0, 3), slice(3, 8)])
        for settings in ([], ["training.losses={model: 1.0}"], ["training.losses={model: 2.0}"])
    )
    assert plain[0].loss == named[0].loss and plain[0].parts == {}
    assert all(torch.equal(one, other) for one, other in zip(plain[1], named[1], strict=True))
    assert doubled[0].loss == pytest.approx(2 * plain[0].loss, rel=1e-6)


# --- a loss with targets of its own ---------------------------------------------------------------


class LaterHalf(Loss):
    """The cross-entropy of the targets with a large id, which it counts itself."""

    FROM = 150

    def _where(self, labels: Tensor) -> Tensor:
        return labels[:, 1:] >= self.FROM

    def count(self, inputs: Inputs, targets: int) -> int:
        return int(self._where(inputs["labels"]).sum())

    def mean(self, done: ForwardPass) -> Tensor:
        logits, targets = done.predictions
        chosen = targets >= self.FROM
        nats = F.cross_entropy(logits[chosen], targets[chosen], reduction="sum")
        return nats / max(1, int(chosen.sum()))


@pytest.fixture
def later_half() -> Iterator[None]:
    register_loss("later_half")(LaterHalf)
    yield
    LOSSES.remove("later_half")


def test_each_loss_is_a_mean_over_its_own_targets(later_half: None, tmp_path: Path) -> None:
    config = without_dropout("gpt2", tmp_path, "training.losses={model: 1.0, later_half: 0.5}")
    whole, expected = gradients_of(config, [slice(0, 8)])
    cut, found = gradients_of(config, [slice(i, i + 1) for i in range(8)])
    inputs = ragged_batch(config, rows=8).inputs
    logits = create_model(config)(input_ids=inputs["input_ids"]).logits[:, :-1]
    chosen = inputs["labels"][:, 1:] >= LaterHalf.FROM
    by_hand = F.cross_entropy(logits[chosen], inputs["labels"][:, 1:][chosen]).item()
    for result in (whole, cut):
        assert float(result.parts["later_half"]) == pytest.approx(by_hand, rel=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


# --- the log --------------------------------------------------------------------------------------


def lines_of(directory: Path, key: str) -> list[dict[str, Any]]:
    return [x for x in read_metrics(directory / "run" / "metrics.jsonl") if key in x]


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_each_loss_is_logged_and_their_weighted_sum(kind: str, tmp_path: Path) -> None:
    result = train(tiny_experiment(kind, tmp_path, TWO))
    assert result.loss_unit is None
    metrics = result.metrics
    trained, evaluated = lines_of(tmp_path, "train/loss"), lines_of(tmp_path, "eval/loss")
    assert len(trained) == 6 and evaluated
    for split, lines in (("train", trained), ("eval", evaluated)):
        for line in lines:
            parts = line[f"{split}/loss/model"] + WEIGHT * line[f"{split}/loss/z_loss"]
            assert line[f"{split}/loss"] == pytest.approx(parts, rel=1e-5)
            assert line[f"{split}/loss/z_loss"] > 1  # about the square of ln 300
    # perplexity and bits per byte stay those of the model's own loss
    assert metrics["eval/perplexity"] == pytest.approx(math.exp(metrics["eval/loss/model"]))


def test_a_single_loss_has_no_parts_in_the_log(tmp_path: Path) -> None:
    train(tiny_experiment("gpt2", tmp_path, "training.max_steps=2", "training.warmup_steps=1"))
    names = {name for line in read_metrics(tmp_path / "run" / "metrics.jsonl") for name in line}
    assert not any(name.startswith(("train/loss/", "eval/loss/")) for name in names)


# --- logits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "training", "evaluating"),
    [
        ([], False, False),
        (["training.losses={model: 2.0}"], False, False),
        ([TWO], None, None),
        (["training.metrics=[loss, accuracy]"], False, None),
        (["training.train_metrics=[accuracy]"], None, False),
        (["training.train_metrics=[perplexity]"], False, False),
    ],
)
def test_logits_are_computed_exactly_where_something_reads_them(
    settings: list[str],
    training: bool | None,
    evaluating: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last two are the argument `return_logits` of the model."""
    told = set()
    forward: Callable[..., Any] = GPT2Model.forward

    def listening(self: GPT2Model, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("labels") is not None:
            told.add((self.training, kwargs.get("return_logits")))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(GPT2Model, "forward", listening)
    monkeypatch.setattr(language, "require_no_leak", lambda *given, **known: None)
    monkeypatch.setattr("model_foundry.objectives.trial.needs_trial", lambda objective: False)
    train(tiny_experiment("gpt2", tmp_path, *settings, "training.speed.loss_without_logits=true"))
    assert told == {(True, training), (False, evaluating)}


def test_a_model_without_a_loss_is_refused_in_one_line(tmp_path: Path) -> None:
    objective = objective_of(tiny_experiment("gpt2", tmp_path))
    inputs = {"labels": torch.ones(1, 3, dtype=torch.long)}
    done = objective.run(lambda **_: ModelOutput(), inputs, {"model": 2})
    with pytest.raises(ConfigError, match=r"^model\.architecture: .* returned no loss; correct"):
        _ = done.losses


def test_the_z_loss_without_a_target_is_zero_with_a_graph() -> None:
    objective = objective_of(tiny_experiment("gpt2", Path("nowhere"), TWO))
    logits = torch.randn(1, 3, 5, requires_grad=True)
    inputs = {"labels": torch.full((1, 3), -100)}
    output = ModelOutput(loss=logits.sum() * 0, logits=logits)
    done = objective.run(lambda **_: output, inputs, {"model": 0, "z_loss": 0})
    done.losses["z_loss"].backward()
    assert done.losses["z_loss"].item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


def passed(logits: Tensor, labels: Tensor) -> ForwardPass:
    """Return the pass of a causal model with these logits."""
    objective = objective_of(tiny_experiment("gpt2", Path("nowhere"), TWO))
    output = ModelOutput(loss=logits.sum() * 0, logits=logits)
    return objective.run(lambda **_: output, {"labels": labels}, {"model": 1, "z_loss": 1})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_z_loss_in_chunks_is_that_of_all_logits_at_once(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logit_chunks, "CHUNK_BYTES", 4 * 50 * 7)  # seven rows
    logits = torch.randn(3, 11, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = torch.arange(33).view(3, 11).where(torch.arange(33).view(3, 11) % 4 > 0, -100)
    one, other = (logits.clone().requires_grad_() for _ in range(2))
    found = passed(one, labels).losses["z_loss"]
    rows = other[:, :-1][labels[:, 1:] != -100]
    plain = rows.to(found.dtype).logsumexp(-1).square().sum() / len(rows)
    (found * 3).backward()
    (plain * 3).backward()
    assert torch.equal(found, plain)
    assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)


class Largest(TorchDispatchMode):
    """The number of entries of the largest fp32 tensor that an operation returns."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.dtype == torch.float32:
            self.entries = max(self.entries, made.numel())
        return made


@pytest.mark.parametrize("reads", ["z_loss", "accuracy"])
def test_no_second_copy_of_all_logits_is_held(reads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logit_chunks, "CHUNK_BYTES", 4 * 50 * 7)
    logits = torch.randn(3, 11, 50).bfloat16().requires_grad_()
    done = passed(logits, torch.ones(3, 11, dtype=torch.long))
    with Largest() as largest:
        if reads == "z_loss":
            done.terms["z_loss"](done).backward()
        else:
            objective = objective_of(tiny_experiment("gpt2", Path("nowhere"), TWO))
            assert Accuracy(objective).sums(done)[1] == 30
    assert largest.entries <= 7 * 50
