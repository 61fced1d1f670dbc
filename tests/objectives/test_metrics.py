"""Metrics compared with torch and with counts by hand, and the interval of bits per byte."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model_foundry.architectures import ModelOutput
from model_foundry.data.batches.loaders import Batch, evaluation_batches, evaluation_streams
from model_foundry.model import create_model
from model_foundry.objectives.forward_pass import ForwardPass
from model_foundry.objectives.measure import measure
from model_foundry.objectives.metrics import Accuracy, MicroF1, Perplexity, students_quantile
from model_foundry.objectives.preparation import prepare
from tests.data.streams import CAUSAL
from tests.experiments import MASKED, MODELS, tiny_experiment

ALL = "training.metrics=[loss, perplexity, bits_per_byte, accuracy]"
CARRIED = ("data.packing=streams", "training.carry_state=true")


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_figures_are_those_of_torch(kind: str, tmp_path: Path) -> None:
    config = tiny_experiment(kind, tmp_path, ALL)
    prepared = prepare(config)
    model = create_model(config, tokenizer=prepared.tokenizer).eval()
    batches = list(evaluation_batches(prepared.validation, prepared.evaluating, batch_size=5))
    nats, correct, targets, size = 0.0, 0, 0, 0
    for batch in batches:
        inputs = {n: t for n, t in batch.inputs.items() if n not in ("labels", "scored_bytes")}
        labels, sizes = batch.inputs["labels"], batch.inputs["scored_bytes"]
        with torch.no_grad():
            logits = model(**inputs).logits
        if kind not in MASKED:
            logits, labels = logits[:, :-1], labels[:, 1:]
        nats += float(F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
        scored = labels != -100
        correct += int((logits.argmax(-1) == labels)[scored].sum())
        targets, size = targets + int(scored.sum()), size + int(sizes.sum())
    assert measure(model, batches, prepared.objective) == {
        "loss": pytest.approx(nats / targets, rel=1e-6),
        "perplexity": pytest.approx(math.exp(nats / targets), rel=1e-5),
        "accuracy": correct / targets,
        "tokens": targets,
        "bits_per_byte": pytest.approx(nats / math.log(2) / size, rel=1e-6),
        "bits_per_byte_interval": pytest.approx(0.5, abs=0.5),
    }


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn"])
def test_the_token_after_a_row_counts_for_the_accuracy_too(kind: str, tmp_path: Path) -> None:
    config = tiny_experiment(kind, tmp_path, ALL, *CARRIED)
    prepared = prepare(config)
    model = create_model(config, tokenizer=prepared.tokenizer).eval()
    batches = list(evaluation_streams(prepared.validation, prepared.evaluating))
    figures = measure(model, batches, prepared.objective, carry_state=True)
    tokens = torch.tensor(prepared.validation.stream.tokens[:].astype("int64"))
    starts = [key[1] * 16 for key in batches[0].keys]
    correct = 0
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        with torch.no_grad():
            predicted = model(tokens[None, start:end]).logits[0].argmax(-1)
        targets = tokens[start + 1 : end + 1]
        correct += int((predicted[: len(targets)] == targets).sum())
    assert figures["tokens"] == len(tokens) - 1
    assert round(figures["accuracy"] * figures["tokens"]) == pytest.approx(correct, abs=1)


def test_accuracy_and_perplexity_of_sums_by_hand() -> None:
    accuracy, perplexity = (kind(CAUSAL) for kind in (Accuracy, Perplexity))
    assert accuracy.result(np.array([3.0, 4.0])) == {"accuracy": 0.75}
    found = perplexity.result(np.array([math.log(8) * 2, 2.0]))
    assert found == {"perplexity": pytest.approx(8)}
    assert perplexity.result(np.array([1e6, 2.0])) == {"perplexity": math.inf}


def test_perplexity_is_that_of_the_likelihood_whatever_is_learned_from() -> None:
    labels = torch.tensor([[5, 1, 2, -100]])  # two targets of a causal model
    output, smoothed = ModelOutput(loss=torch.tensor(2.0), logits=torch.zeros(1, 4, 9)), 5.0
    given: Any = {"model": None, "targets": {"label_loss": 2}, "align": CAUSAL.aligned}
    given["terms"] = {"label_loss": lambda done: torch.tensor(smoothed)}
    done = ForwardPass(output=output, inputs={"labels": labels}, **given)
    assert Perplexity(CAUSAL).sums(done).tolist() == [2.0 * 2, 2]
    without = replace(done, output=replace(output, loss=None))
    assert Perplexity(CAUSAL).sums(without).tolist() == [smoothed * 2, 2]


def test_micro_f1_by_hand() -> None:
    logits = torch.tensor([[3.0, -1.0, 0.2], [-2.0, 0.0, 4.0]])  # 0 is a probability of one half
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    output, inputs = ModelOutput(logits=logits), {"labels": labels}
    given: Any = {"model": None, "targets": {}, "terms": {}}
    given["align"] = lambda output, inputs: (output.logits, inputs["labels"])
    metric = MicroF1(CAUSAL)
    sums = metric.sums(ForwardPass(output=output, inputs=inputs, **given))
    assert sums.tolist() == [2, 3, 4]  # precision 2/3, recall 2/4
    assert metric.result(sums.numpy()) == {"micro_f1": pytest.approx(4 / 7)}
    assert metric.result(np.zeros(3)) == {}


@pytest.mark.parametrize("metric", [Accuracy, Perplexity])
def test_a_metric_without_a_target_is_left_out(metric: Any) -> None:
    """Another loss may have targets where the model's own has none."""
    assert metric(CAUSAL).result([0.0, 0.0]) == {}


# --- the interval ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "value"), [(3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (1000, 1.9623)]
)
def test_quantiles_of_students_distribution_are_those_of_the_tables(
    freedom: int, value: float
) -> None:
    assert students_quantile(freedom) == pytest.approx(value, rel=0.01)


class _Drawn:
    """A model with given losses of the batches."""

    computes_loss_alone = False

    def __init__(self, losses: list[float]) -> None:
        self.losses = iter(losses)

    def __call__(self, **inputs: object) -> ModelOutput:
        assert "scored_bytes" not in inputs
        return ModelOutput(loss=torch.tensor(next(self.losses)))

    def parameters(self) -> Iterator[torch.Tensor]:
        return iter([torch.zeros(())])

    def buffers(self) -> Iterator[torch.Tensor]:
        return iter(())

    def modules(self) -> Iterator[nn.Module]:
        return iter(())

    def eval(self) -> None:
        pass


def drawn(losses: list[float], batches: Any) -> dict[str, float]:
    return measure(_Drawn(losses), batches, CAUSAL)  # type: ignore[arg-type]


def batch_of(tokens: int) -> Batch:
    ids = torch.arange(tokens + 1)[None]  # the first one is not scored
    sizes = torch.full_like(ids, 3) * (ids > 0)
    return Batch({"input_ids": ids, "labels": ids, "scored_bytes": sizes}, {}, [(0, 0)])


def test_the_interval_holds_the_truth_19_times_in_20() -> None:
    """Simulate many texts of ten batches of uneven size."""
    draw, truth, held, trials = random.Random(1), 2.0 / 3 / math.log(2), 0, 600
    for _ in range(trials):
        sizes = [draw.randint(10, 30) for _ in range(10)]
        losses = [2.0 + draw.gauss(0, 0.5) for _ in sizes]
        figures = drawn(losses, map(batch_of, sizes))
        held += abs(figures["bits_per_byte"] - truth) <= figures["bits_per_byte_interval"]
    assert 0.92 < held / trials < 0.98


def test_undefined_figures_are_left_out() -> None:
    few = drawn([1.0] * 3, [batch_of(5)] * 3)
    assert "bits_per_byte" in few and "bits_per_byte_interval" not in few
    batch = batch_of(5)
    inputs = batch.inputs | {"scored_bytes": torch.zeros(1, 6, dtype=torch.int64)}
    without = drawn([1.0] * 5, [replace(batch, inputs=inputs)] * 5)
    assert without.keys() == {"loss", "perplexity", "tokens"}


def test_a_carried_state_has_no_interval(tmp_path: Path) -> None:
    """Its batches are not independent."""
    config = tiny_experiment("gru", tmp_path, *CARRIED)
    prepared = prepare(config)
    model = create_model(config, tokenizer=prepared.tokenizer)
    batches = list(evaluation_streams(prepared.validation, prepared.evaluating))
    assert len(batches) >= 4
    figures = measure(model, batches, prepared.objective, carry_state=True)
    assert "bits_per_byte" in figures and "bits_per_byte_interval" not in figures
