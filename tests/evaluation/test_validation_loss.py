"""Held-out loss by hand: a uniform model, uneven batches, bytes of scored tokens only."""

import math
from pathlib import Path

import pytest
import torch

from model_foundry.data.blocks import Blocks
from model_foundry.data.loaders import evaluation_batches
from model_foundry.evaluation.validation_loss import measure_loss
from model_foundry.model import create_model
from model_foundry.preparation import Prepared, prepare
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
    collator = prepared.objective.collator(config, prepared.tokenizer)
    batches = evaluation_batches(prepared.validation, collator, batch_size=batch_size)
    return measure_loss(model, batches, prepared.objective)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_uniform_model_has_the_vocabulary_as_perplexity(kind: str, tmp_path: Path) -> None:
    figures = measure(kind, tmp_path, batch_size=4, uniform=True)
    assert figures["loss"] == pytest.approx(math.log(300), rel=1e-6)
    assert figures["perplexity"] == pytest.approx(300, rel=1e-5)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_result_does_not_depend_on_the_batches(kind: str, tmp_path: Path) -> None:
    """The mean of batch means would: the last batch is smaller and its last row is short."""
    one, many = (measure(kind, tmp_path, batch_size=size) for size in (1, 7))
    assert one["tokens"] == many["tokens"]
    assert one["loss"] == pytest.approx(many["loss"], rel=1e-5)
    assert one["bits_per_byte"] == pytest.approx(many["bits_per_byte"], rel=1e-5)


def scored_bytes(prepared: Prepared, blocks: Blocks) -> int:
    """Count by hand: all bytes, but for those of each block's first token."""
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


def test_model_comes_back_in_the_mode_it_was_in(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    prepared = prepare(config)
    collator = prepared.objective.collator(config, prepared.tokenizer)
    model = create_model(config, tokenizer=prepared.tokenizer)
    for training in (True, False):
        model.train(training)
        batches = evaluation_batches(prepared.validation, collator, batch_size=8)
        measure_loss(model, batches, prepared.objective)
        assert model.training is training
