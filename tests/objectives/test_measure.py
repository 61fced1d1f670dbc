"""Measurements: a uniform model, uneven batches, bytes of scored tokens, a share of them."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import METRICS
from model_foundry.data.batches.loaders import evaluation_batches
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.model import create_model
from model_foundry.objectives import ForwardPass, Metric, Prepared, register_metric
from model_foundry.objectives.measure import PENDING, Accumulator, Metrics, measure
from model_foundry.objectives.metrics import Sums
from model_foundry.objectives.preparation import prepare
from tests.data.streams import CAUSAL, row_of
from tests.experiments import MODELS, tiny_experiment

DONE: Any = SimpleNamespace(read_by=lambda name: None)  # for metrics that read nothing
ALL = "training.metrics=[loss, perplexity, bits_per_byte, accuracy]"


def tiny(kind: str, directory: Path, *overrides: str) -> tuple[Prepared, BaseLanguageModel]:
    config = tiny_experiment(kind, directory, *overrides)
    prepared = prepare(config)
    return prepared, create_model(config, tokenizer=prepared.tokenizer)


def measured(
    prepared: Prepared, model: BaseLanguageModel, *, batch_size: int = 4
) -> dict[str, float]:
    batches = evaluation_batches(prepared.validation, prepared.evaluating, batch_size=batch_size)
    return measure(model, batches, prepared.objective)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_uniform_model_has_the_vocabulary_as_perplexity(kind: str, tmp_path: Path) -> None:
    prepared, model = tiny(kind, tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    figures = measured(prepared, model)
    assert figures["loss"] == pytest.approx(math.log(300), rel=1e-6)
    assert figures["perplexity"] == pytest.approx(300, rel=1e-5)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_result_does_not_depend_on_the_batches(kind: str, tmp_path: Path) -> None:
    """The mean of batch means does: the last batch is smaller, and its last row is short."""
    prepared, model = tiny(kind, tmp_path, ALL)
    one, many = (measured(prepared, model, batch_size=size) for size in (1, 7))
    assert (one["tokens"], one["accuracy"]) == (many["tokens"], many["accuracy"])
    for name in ("loss", "perplexity", "bits_per_byte"):
        assert one[name] == pytest.approx(many[name], rel=1e-5)


def test_bits_per_byte_divides_by_the_bytes_of_scored_tokens(tmp_path: Path) -> None:
    """All bytes except those of the first token of each block."""
    prepared, model = tiny("gpt2", tmp_path)
    figures, rows = measured(prepared, model), prepared.validation
    firsts = [row_of(rows, (0, index))["num_bytes"][0] for index in range(len(rows))]
    nats = figures["loss"] * figures["tokens"]
    assert figures["tokens"] == len(rows.stream) - len(rows)
    expected = nats / math.log(2) / (rows.stream.bytes - int(sum(firsts)))
    assert figures["bits_per_byte"] == pytest.approx(expected, rel=1e-9)


def test_the_mode_of_each_module_is_restored(tmp_path: Path) -> None:
    prepared, model = tiny("gpt2", tmp_path)
    for training in (True, False):
        model.train(training)
        model.get_input_embeddings().train(not training)  # as a frozen part stays in evaluation
        modes = [module.training for module in model.modules()]
        measured(prepared, model, batch_size=8)
        assert [module.training for module in model.modules()] == modes


def test_a_text_without_a_scored_token_has_no_loss(tmp_path: Path) -> None:
    prepared, model = tiny("gpt2", tmp_path)
    with pytest.raises(DataError, match="no example has a target, so there is nothing to measure"):
        measure(model, [], prepared.objective)


# --- sums -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, PENDING - 1, PENDING, 2 * PENDING + 3])
def test_a_sum_is_that_of_a_loop_in_the_same_order(number: int) -> None:
    figures = torch.rand(number, 3, dtype=torch.float64)
    sums, expected = Accumulator(), np.zeros(3)
    for each in figures:
        sums.add(each)
        expected = expected + each.numpy()
    assert len(sums._pending) < PENDING
    total = sums.total()
    assert total is None if number == 0 else total is not None and (total == expected).all()


def test_sums_of_single_precision_are_added_in_double() -> None:
    sums = Accumulator()
    for value in (2.0**24, 1, 1, 1):
        sums.add(torch.tensor([value]))
    assert sums.total() == [2**24 + 3]


class Given(Metric):
    """A metric that gives whatever it is told."""

    answer: object = 1.0

    def sums(self, done: ForwardPass) -> torch.Tensor:
        return torch.ones(1, dtype=torch.float64)

    def result(self, sums: Sums) -> float:
        return self.answer  # type: ignore[return-value]


@pytest.fixture
def given() -> Iterator[type[Given]]:
    register_metric("given", greater_is_better=True)(Given)
    yield Given
    METRICS.remove("given")


@pytest.mark.parametrize("answer", ["much", None, [1.0], torch.tensor(1.0), 1j, True])
def test_a_metric_that_is_no_number_is_refused_in_one_line(
    answer: object, given: type[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "answer", answer)
    metrics = Metrics(CAUSAL, ["given"])
    metrics.add(DONE)
    with pytest.raises(ConfigError) as refused:
        metrics.figures()
    said = str(refused.value)
    assert "Given.result: gives 'given' the value " in said and said.startswith("plugin ")
    assert said.endswith("which is no number; return a float") and "\n" not in said


@pytest.mark.parametrize("answer", [np.float64(0.5), np.float32(0.5), 0.5])
def test_a_number_of_numpy_becomes_one_of_python(
    answer: object, given: type[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "answer", {"half": answer, "count": np.int64(3)})
    metrics = Metrics(CAUSAL, ["given"])
    metrics.add(DONE)
    figures = metrics.figures()
    assert figures == {"half": 0.5, "count": 3}
    assert [type(value) for value in figures.values()] == [float, int]


class Beside(ProcessGroup):
    """One of two processes; the sums of the other one are given."""

    other: object = None

    def all_gather(self, value: object) -> list[object]:
        return [value, self.other]


def test_the_sums_of_all_processes_are_added_and_a_repeated_one_counts_once(
    given: type[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "result", lambda self, sums: float(sums[0]))
    beside = Beside(world_size=2)
    object.__setattr__(beside, "other", {"given": np.array([5.0])})
    metrics = Metrics(CAUSAL, ["given"])
    assert metrics.figures(beside) == {"given": 5.0}  # this process has seen nothing
    metrics.add(DONE)
    assert metrics.figures(beside) == {"given": 6.0}
    assert metrics.figures(beside, counts=False) == {"given": 5.0}


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_sums_are_restored_by_any_number_of_processes(
    before: int, after: int, given: type[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "result", lambda self, sums: float(sums[0]))
    states = []
    for rank in range(before):
        metrics = Metrics(CAUSAL, ["given"])
        for _ in range(rank + 1):
            metrics.add(DONE)
        states.append(metrics.state())
    total = 0.0
    for rank in range(after):
        restored = Metrics(CAUSAL, ["given"])
        restored.add(DONE)  # forgotten
        restored.restore(states, ProcessGroup(rank=rank, world_size=after))
        total += restored.figures().get("given", 0.0)
    assert total == sum(range(before + 1))


def test_a_state_is_plain_data_and_empty_without_sums(given: type[Given]) -> None:
    metrics = Metrics(CAUSAL, ["given"])
    assert metrics.state() == {}
    metrics.add(DONE)
    assert metrics.state() == {"given": [1.0]}
    metrics.reset()
    assert metrics.state() == {} and metrics.figures() == {}
