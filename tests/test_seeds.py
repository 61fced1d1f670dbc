"""A study over seeds: other weights, order and dropout on one text, with one tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry import train
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.experiment.measure_split import measure_split
from model_foundry.foundation.random_state import seed_generators
from model_foundry.model import create_model
from model_foundry.objectives import Prepared
from model_foundry.objectives.preparation import prepare
from model_foundry.training.metrics_log import read_metrics
from tests.experiments import tiny_experiment

BUDGET = "data.train={mixture: [{source: {language: {sentences: 400}}, words: 1500}]}"


def seeded(directory: Path, *seeds: str) -> tuple[ExperimentConfig, Prepared]:
    config = tiny_experiment("bert", directory, BUDGET, *seeds)
    return config, prepare(config)


def parts(prepared: Prepared) -> tuple[Any, ...]:
    return (prepared.processors["tokenizer"].source, prepared.content)


def test_one_tokenizer_and_one_split_serve_all_seeds(tmp_path: Path) -> None:
    (one, first), (two, second) = (seeded(tmp_path, f"seed={seed}") for seed in (1, 2))
    assert parts(first) == parts(second)
    weights = (create_model(c, tokenizer=first.tokenizer).state_dict() for c in (one, two))
    assert any((a != b).any() for a, b in zip(*(w.values() for w in weights), strict=True))
    # masks of the training differ, those of an evaluation do not
    row = first.train.read([(0, 0)])
    assert first.collate(row)["labels"].tolist() != second.collate(row)["labels"].tolist()
    model = create_model(one, tokenizer=first.tokenizer)
    losses = [measure_split(one, prepared, first.validation, model) for prepared in (first, second)]
    assert losses[0] == losses[1]


def test_another_split_is_another_text(tmp_path: Path) -> None:
    (_, one), (_, other) = (seeded(tmp_path, f"seed.split={seed}") for seed in (1, 2))
    assert parts(one)[0] != parts(other)[0]
    assert one.content["validation text"] != other.content["validation text"]


@pytest.mark.slow
def test_the_order_and_the_run_follow_from_the_seed(tmp_path: Path) -> None:
    digests = []
    for seed in (1, 2):
        config = tiny_experiment(
            "lstm", tmp_path / str(seed), f"seed={seed}", "training.max_steps=2"
        )
        train(config)
        (line, *_) = read_metrics(config.output_dir / "metrics.jsonl")
        digests.append(line["train/batch_digest"])
    assert digests[0] != digests[1]


@pytest.mark.parametrize("seed", [2**64, 10**30, -1])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match=rf"^seed: must be >= 0 and < 2\*\*64, got {seed};"):
        seed_generators(seed)


@pytest.mark.parametrize("seed", [f"seed={2**63}", f"seed.split={2**70}", "seed.init=-1"])
def test_so_is_one_of_an_experiment(seed: str, tmp_path: Path) -> None:
    build: Callable[..., ExperimentConfig] = tiny_experiment
    with pytest.raises(ConfigError, match=r"seed.*: must be "):
        build("lstm", tmp_path, seed)
