"""Every experiment in configs/ loads, builds at its full size, and the small ones train."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry import create_model, load_config, train
from model_foundry.architectures import BaseModel
from model_foundry.config import settings_without_effect

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
ON_THE_LANGUAGE = ("quickstart", "t5_denoising")
SMALL = [path for path in CONFIGS if path.stem.startswith("tiny_") or path.stem in ON_THE_LANGUAGE]
# Radford et al. 2019 as counted from the published weights; Devlin et al. 2019 with the masked
# language modelling head and without the pooler.
PARAMETERS = {"gpt2_small": 124_439_808, "bert_base": 109_514_298}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "image_classification": {
        "num_channels": 1,
        "image_size": [8, 8],
        "labels": [*"0123456789"],
    },
    "sequence_classification": {"labels": ["acceptable", "unacceptable"]},
    "token_classification": {"labels": [f"label {number}" for number in range(17)]},
}
"""What follows from the data beside the size of the vocabulary, by objective."""


def by_name(path: Path) -> str:
    return path.stem


def build(path: Path, directory: Path) -> BaseModel:
    """Return the model at its full size, without memory for its weights."""
    config = load_config(path, overrides=[f"output_dir={directory / 'run'}"])
    with torch.device("meta"):
        more = ARGUMENTS.get(config.training.objective, {})
        if config.training.objective != "image_classification":
            more = {"vocab_size": config.tokenizer.vocab_size} | more
        return create_model(config, **more)


def test_the_shipped_experiments_are_found() -> None:
    assert len(SMALL) == 10
    assert {path.stem for path in CONFIGS} >= PARAMETERS.keys()


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_it_loads_and_every_setting_has_an_effect(path: Path) -> None:
    assert settings_without_effect(load_config(path)) == []


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_it_builds_at_its_full_size(path: Path, tmp_path: Path) -> None:
    model = build(path, tmp_path)
    assert all(parameter.is_meta for parameter in model.parameters())
    expected = PARAMETERS.get(path.stem, model.get_parameter_count())
    assert model.get_parameter_count() == expected


@pytest.mark.slow
@pytest.mark.parametrize("path", SMALL, ids=by_name)
def test_a_small_one_trains(path: Path, tmp_path: Path) -> None:
    overrides = [
        f"output_dir={tmp_path / 'run'}",
        "data.train.language.sentences=300",
        "tokenizer.vocab_size=300",
        "training.max_steps=2",
        "training.warmup_steps=1",
        "training.per_device_train_batch_size=4",
        "training.eval_steps=2",
    ]
    result = train(load_config(path, overrides=overrides))
    assert result.step == 2
    assert 0 < result.metrics["eval/loss"] < 10
    assert (result.model_dir / "config.json").is_file()


def write_treebank(here: Path) -> list[str]:
    """Write sentences in CoNLL-U; return the settings that name them."""
    words = ["1\tthe\t_\tDET" + "\t_" * 6, "2\tcat\t_\tNOUN" + "\t_" * 6]
    (here / "bank.conllu").write_text("\n".join([*words, "", ""]) * 40)
    return [f"data.train={here / 'bank.conllu'}"]


def write_sentences(here: Path) -> list[str]:
    """Write sentences with labels; return the settings that name them."""
    rows = [{"sentence": f"a {word}", "label": word} for word in ("good", "bad") * 20]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [f"data.{split}={here / 'rows.jsonl'}" for split in ("train", "validation", "test")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("pos_tagging", write_treebank),
        ("pos_tagging_transformer", write_treebank),
        ("acceptability", write_sentences),
    ],
)
def test_a_classification_trains(
    name: str, write: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    overrides = [
        f"output_dir={tmp_path / 'run'}",
        *write(tmp_path),
        "tokenizer.vocab_size=300",
        "training.max_steps=40",
        "training.warmup_steps=1",
    ]
    config = load_config(CONFIGS[0].with_name(f"{name}.yaml"), overrides=overrides)
    assert train(config).metrics["eval/accuracy"] == 1.0
