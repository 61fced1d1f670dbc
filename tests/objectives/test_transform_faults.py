"""Faults of transformed batches: the entry that causes them is told, and no other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.examples import Examples
from model_foundry.errors import ConfigError, DataError, Interrupted
from model_foundry.objectives.base import Prepared
from model_foundry.objectives.transform_faults import check_transformed, require_known_tokens
from model_foundry.objectives.transforms import with_transforms
from tests.experiments import tiny_experiment

RENAMED = [{"rename": {"a": "b"}}, {"rename": {"b": "c"}}, {"normalize": {"keys": {"values": "c"}}}]


class _Task:
    def __init__(self, config: ExperimentConfig) -> None:
        self.config, self.processors = config, {}


def prepared_with(transforms: list[dict[str, Any]], here: Path) -> Prepared:
    config = tiny_experiment("gpt2", here)
    config.training.transforms = transforms

    def collate(examples: Examples) -> dict[str, torch.Tensor]:
        return {"a": torch.ones(1, 2)}

    given: Any = {"objective": _Task(config), "processors": {}, "train": None, "validation": None}
    return with_transforms(Prepared(collate=collate, evaluating=collate, test=None, **given))


def requiring(*names: str, error: type[Exception] = KeyError) -> Callable[[Prepared], None]:
    def check(prepared: Prepared) -> None:
        batch = prepared.collate(Examples(keys=[(0, 0)], columns={}, counts={}))
        if not batch.keys() & set(names):
            raise error(f"has {', '.join(batch)}")

    return check


@pytest.mark.parametrize(
    ("names", "error", "field"),
    [
        ("a", KeyError, "0.rename"),
        ("ab", DataError, "1.rename"),
        ("b", ConfigError, "1.rename"),
        ("ad", KeyError, "0.rename"),
    ],
)
def test_the_first_transform_after_the_last_that_passes_is_told(
    names: str, error: type[Exception], field: str, tmp_path: Path
) -> None:
    message = rf"^training\.transforms\.{field}: (KeyError: 'has c'|has c)"
    with pytest.raises(ConfigError, match=message):
        check_transformed(requiring(*names, error=error), prepared_with(RENAMED, tmp_path))


@pytest.mark.parametrize(
    ("names", "error"), [("d", KeyError), ("d", DataError), ("a", Interrupted), ("a", MemoryError)]
)
def test_other_faults_stay_as_they_are(names: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match="has c") as caught:
        check_transformed(requiring(*names, error=error), prepared_with(RENAMED, tmp_path))
    assert "training.transforms" not in str(caught.value)


def test_a_check_that_passes_runs_once(tmp_path: Path) -> None:
    seen: list[Prepared] = []
    check_transformed(seen.append, prepared := prepared_with(RENAMED, tmp_path))
    assert seen == [prepared] and replace(prepared) == prepared


def test_a_replacement_is_a_token_of_the_vocabulary(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    config.training.transforms = [{"token_dropout": {"share": 0.2, "replacement": 27}}]
    law = r"transforms\.0\.token_dropout: replacement \(=27\) must be < 27, the size of the vocab"
    for sizes in ({"vocab_size": 27}, {"vocab_size": 99, "source_vocab_size": 27}):
        with pytest.raises(ConfigError, match=law):
            require_known_tokens(config, lambda sizes=sizes: sizes)  # type: ignore[misc]
    for sizes in ({"vocab_size": 28}, {"vocab_size": 9, "source_vocab_size": 28}, {}):
        require_known_tokens(config, lambda sizes=sizes: sizes)  # type: ignore[misc]
    keys = {"share": 0.2, "replacement": 27, "keys": {"input_ids": "labels"}}
    config.training.transforms = [{"token_dropout": keys}]
    require_known_tokens(config, lambda: {"vocab_size": 28, "source_vocab_size": 9})
