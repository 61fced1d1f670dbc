"""The ablation of masked encoders: its recipes are experiments, and its rates are chosen fairly."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import masked_encoders
from benchmarks.masked_encoders import (
    ARMS,
    BERT,
    MODERN,
    RECIPE,
    chosen,
    draw,
    read_records,
    shuffle_rows,
    table,
)
from model_foundry import load_config
from model_foundry.config import settings_without_effect


def record(arm: str, rate: float, seed: int, loss: float) -> dict[str, Any]:
    return {"arm": arm, "rate": rate, "seed": seed, "loss": loss}


@pytest.mark.parametrize("name", ARMS)
def test_every_recipe_is_an_experiment_in_which_each_setting_counts(name: str) -> None:
    config = load_config(RECIPE, overrides=ARMS[name].settings())
    assert settings_without_effect(config) == []
    assert config.training.mlm_probability == ARMS[name].share


def test_each_step_from_an_end_takes_one_factor_from_the_other() -> None:
    for name in list(ARMS)[2:10]:
        end, other = (BERT, MODERN) if name.startswith("BERT") else (MODERN, BERT)
        arm = ARMS[name]
        factors = ("place", "positions", "gate", "share")
        changed = [field for field in factors if getattr(arm, field) != getattr(end, field)]
        assert [getattr(arm, field) == getattr(other, field) for field in changed] == [True]


def test_the_shipped_encoder_is_the_modern_end() -> None:
    shipped, arm = load_config(RECIPE), load_config(RECIPE, overrides=MODERN.settings())
    assert shipped.training.mlm_probability == arm.training.mlm_probability
    for field in ("positions", "norm"):
        assert getattr(shipped.model.section, field) == getattr(arm.model.section, field)


def test_the_rate_is_chosen_by_the_first_seed_and_all_its_seeds_are_shown(tmp_path: Path) -> None:
    records = [
        record("BERT", 0.1, 1, 5.0),
        record("BERT", 0.2, 1, 4.0),
        record("BERT", 0.1, 2, 1.0),
    ]
    records += [record("BERT", 0.2, 2, 6.0), record("BERT", 0.2, 3, 5.0)]
    found = chosen(records)
    assert [(run["rate"], run["seed"]) for run in found["BERT"]] == [(0.2, 1), (0.2, 2), (0.2, 3)]
    assert table(found).splitlines()[2:] == ["| BERT | 0.2 | 5.00 | 4.00 to 6.00 |"]
    assert table({"BERT": found["BERT"][:1]}).endswith("| BERT | 0.2 | 4.00 | one seed |")
    draw(found, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_shuffled_rows_hold_the_same_tokens_each_with_its_label_between_the_frame() -> None:
    ids = torch.arange(40).view(4, 10)
    shuffled = shuffle_rows({"input_ids": ids, "labels": -ids})
    found = shuffled["input_ids"]
    assert torch.equal(shuffled["labels"], -found)
    assert torch.equal(found.sort(1).values, ids) and not torch.equal(found, ids)
    assert torch.equal(found[:, [0, -1]], ids[:, [0, -1]])


def test_runs_that_are_recorded_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[float, int]] = []

    def run(settings: list[str], *, arm: str, rate: float, seed: int) -> dict[str, Any]:
        made.append((rate, seed))
        return record(arm, rate, seed, loss=abs(rate - 1e-3))

    monkeypatch.setattr(masked_encoders, "run", run)
    for _ in range(2):
        masked_encoders.train_arm("BERT", BERT, tmp_path / "records.jsonl", [])
    assert made == [(2e-3, 1), (1e-3, 1), (4e-3, 1), (1e-3, 2), (1e-3, 3)]


def test_the_page_shows_the_table_of_the_records() -> None:
    page = (RECIPE.parents[1] / "docs" / "architectures.md").read_text(encoding="utf-8")
    records = read_records(RECIPE.parents[1] / "benchmarks" / "masked_encoders.jsonl")
    assert table(chosen(records)) in page
