"""Validation loss: a uniform model, uneven batches, bytes of scored tokens only."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from model_foundry.evaluation.validation_loss import measure_loss, students_quantile

from model_foundry.architectures import ModelOutput
from model_foundry.data.batches.loaders import Batch, evaluation_batches
from model_foundry.data.batches.token_examples import Blocks
from model_foundry.errors import DataError
from model_foundry.experiment.prepare_data import Prepared, prepare
from model_foundry.model import create_model
from model_foundry.objectives import CausalLM
from tests.experiments import MODELS, tiny_experiment


def measure(
    kind: str, directory: Path, *, batch_size: int, uniform: bool = False
) -> dict[str, float]:
    config = tiny_experiment(kind, directory)
    prepared = prepare(config)
    model = create_model(config, tokenizer=prepared.tokenizer)
    if uniform:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
    collator = prepared.collate
    batches = evaluation_batches(prepared.validation, collator, batch_size=batch_size)
    return measure_loss(model, batches, prepared.objective)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_uniform_model_has_the_vocabulary_as_perplexity(kind: str, tmp_path: Path) -> None:
    figures = measure(kind, tmp_path, batch_size=4, uniform=True)
    assert figures["loss"] == pytest.approx(math.log(300), rel=1e-6)
    assert figures["perplexity"] == pytest.approx(300, rel=1e-5)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_result_does_not_depend_on_the_batches(kind: str, tmp_path: Path) -> None:
    """The mean of batch means does: the last batch is smaller, and its last row is short."""
    one, many = (measure(kind, tmp_path, batch_size=size) for size in (1, 7))
    assert one["tokens"] == many["tokens"]
    assert one["loss"] == pytest.approx(many["loss"], rel=1e-5)
    assert one["bits_per_byte"] == pytest.approx(many["bits_per_byte"], rel=1e-5)


def scored_bytes(prepared: Prepared, blocks: Blocks) -> int:
    """Count all bytes except those of the first token of each block."""
    firsts = [blocks[(0, index)]["num_bytes"][0] for index in range(len(blocks))]
    return prepared.validation.stream.bytes - int(sum(firsts))


def test_bits_per_byte_divides_by_the_bytes_of_scored_tokens(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    prepared = prepare(config)
    figures = measure("gpt2", tmp_path, batch_size=4)
    nats = figures["loss"] * figures["tokens"]
    assert figures["tokens"] == len(prepared.validation.stream) - len(prepared.validation)
    expected = nats / math.log(2) / scored_bytes(prepared, prepared.validation)
    assert figures["bits_per_byte"] == pytest.approx(expected, rel=1e-9)


def test_the_mode_of_the_model_is_restored(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    prepared = prepare(config)
    collator = prepared.collate
    model = create_model(config, tokenizer=prepared.tokenizer)
    for training in (True, False):
        model.train(training)
        batches = evaluation_batches(prepared.validation, collator, batch_size=8)
        measure_loss(model, batches, prepared.objective)
        assert model.training is training


def test_a_text_without_a_scored_token_has_no_loss(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    prepared = prepare(config)
    model = create_model(config, tokenizer=prepared.tokenizer)
    with pytest.raises(DataError, match="no token of the text is scored"):
        measure_loss(model, [], prepared.objective)


@pytest.mark.parametrize(
    ("freedom", "value"), [(3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (1000, 1.9623)]
)
def test_quantiles_of_students_distribution_are_those_of_the_tables(
    freedom: int, value: float
) -> None:
    assert students_quantile(freedom) == pytest.approx(value, rel=0.01)


class _Drawn:
    """A model with given losses of the batches."""

    computes_loss_alone = training = False

    def __init__(self, losses: list[float]) -> None:
        self.losses = iter(losses)

    def __call__(self, **inputs: object) -> ModelOutput:
        return ModelOutput(loss=torch.tensor(next(self.losses)))

    def parameters(self) -> Iterator[torch.Tensor]:
        return iter([torch.zeros(())])

    def eval(self) -> None:
        pass

    def train(self, mode: bool) -> None:
        pass


def batch_of(tokens: int) -> Batch:
    ids = torch.arange(tokens + 1)[None]  # the first one is not scored
    return Batch({"input_ids": ids, "labels": ids}, torch.full_like(ids, 3), tokens, 0, [(0, 0)])


def test_the_interval_holds_the_truth_19_times_in_20() -> None:
    """Simulate many texts of ten batches of uneven size."""
    draw, truth, held, trials = random.Random(1), 2.0 / 3 / math.log(2), 0, 600
    for _ in range(trials):
        sizes = [draw.randint(10, 30) for _ in range(10)]
        losses = [2.0 + draw.gauss(0, 0.5) for _ in sizes]
        figures = measure_loss(_Drawn(losses), map(batch_of, sizes), CausalLM())  # type: ignore[arg-type]
        held += abs(figures["bits_per_byte"] - truth) <= figures["bits_per_byte_interval"]
    assert 0.92 < held / trials < 0.98


def test_undefined_figures_are_left_out() -> None:
    few = measure_loss(_Drawn([1.0] * 3), [batch_of(5)] * 3, CausalLM())  # type: ignore[arg-type]
    assert "bits_per_byte" in few and "bits_per_byte_interval" not in few
    silent = [replace(batch_of(5), num_bytes=torch.zeros(1, 6, dtype=torch.int64))] * 5
    without = measure_loss(_Drawn([1.0] * 5), silent, CausalLM())  # type: ignore[arg-type]
    assert without.keys() == {"loss", "perplexity", "tokens"}
