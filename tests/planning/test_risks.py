"""Each risk where there is one, with its figure and a remedy, and none where there is none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import ExperimentConfig
from model_foundry.objectives.preparation import prepare
from model_foundry.planning.figures import LargestBatch, Plan
from model_foundry.planning.risks import count_vocabulary, risks_of
from tests.experiments import tiny_experiment
from tests.planning.plans import GOOD, MB, changed


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    return tiny_experiment("gpt2", tmp_path)


def test_a_good_plan_has_no_risk(config: ExperimentConfig) -> None:
    assert risks_of(GOOD, config, 16) == risks_of(GOOD, config, None) == []


@pytest.mark.parametrize(
    ("name", "plan", "said"),
    [
        (
            "memory",
            changed("memory", growth=950 * MB),
            "the run needs 950.0 MB of memory and 900.0 MB are free: make the model smaller",
        ),
        (
            "memory",
            changed("memory", growth=None, peak=None),
            "the run needs more than 8.0 MB of memory and 900.0 MB are free, so that no step could "
            "be tried: make the model smaller",
        ),
        (
            "vocabulary",
            replace(GOOD, vocabulary=replace(GOOD.vocabulary, never=20, rare=40)),  # type: ignore
            "has 40 of 100 entries of the vocabulary fewer than 10 times, 20 of them never: use "
            "more text",
        ),
        (
            "embeddings",
            changed("parameters", embeddings=510, layers=480),
            "embeddings are 51% of the parameters: lower tokenizer.vocab_size, or make the layers",
        ),
        (
            "batch",
            changed("length", examples=7),
            "a step reads 8 examples and there are 7 for training: make the batch smaller, or use",
        ),
        (
            "passes",
            changed("length", passes=4.2),
            "the run reads the data 4.2 times: beyond 4 passes repeated data are worth less",
        ),
        (
            "evaluation",
            changed("time", evaluations=40.0),
            "evaluations take 62% of the time: raise training.eval_steps, or hold out less",
        ),
    ],
)
def test_a_risk_has_a_figure_and_a_remedy(
    name: str, plan: Plan, said: str, config: ExperimentConfig
) -> None:
    [risk] = risks_of(plan, config, None)
    assert (risk.name, risk.certain) == (name, False)
    assert said in risk.text


def test_a_risk_begins_at_its_figure(config: ExperimentConfig) -> None:
    for plan in (
        changed("memory", growth=900 * MB),
        changed("parameters", embeddings=500, layers=490),
        changed("length", examples=8),
        changed("length", passes=4.0),
        changed("time", evaluations=32.0),
        changed("disk", in_all=1000 * MB),
    ):
        assert risks_of(plan, config, 16) == []


@pytest.mark.parametrize(("warm_up", "number"), [(50, 0), (51, 1)])
def test_a_long_warm_up_is_a_risk(warm_up: int, number: int, tmp_path: Path) -> None:
    settings = (f"training.warmup_steps={warm_up}", "training.max_steps=100")
    found = risks_of(GOOD, tiny_experiment("gpt2", tmp_path, *settings), None)
    assert len(found) == number
    assert all("takes 51% of the 100 steps: lower it" in risk.text for risk in found)


@pytest.mark.parametrize(
    ("number", "epoch", "said"),
    [
        (60, 50, "(=60) is more than the 50 steps of an epoch: each step is saved"),
        (20, 250, "(=20) leaves 8: the run ends after 100 of the 250 steps of an epoch"),
        (20, 100, None),
        (20, 20, None),
        (None, 250, None),
    ],
)
def test_milestones_that_are_not_as_asked_are_a_risk(
    number: int | None, epoch: int, said: str | None, tmp_path: Path
) -> None:
    settings = (f"training.milestones.first_epoch={number or 'null'}",)
    plan = changed("length", first_epoch=epoch)
    found = risks_of(plan, tiny_experiment("gpt2", tmp_path, *settings), None)
    assert [risk.name for risk in found] == ([] if said is None else ["milestones"])
    assert all(said in risk.text for risk in found if said)


def test_a_vocabulary_is_not_made_smaller_than_a_tokenizer_can(config: ExperimentConfig) -> None:
    known = replace(GOOD.vocabulary, ordinary=900, never=20, rare=590)  # type: ignore[type-var]
    [large] = risks_of(replace(GOOD, vocabulary=known), config, None)
    [small] = risks_of(replace(GOOD, vocabulary=replace(known, ordinary=880)), config, None)
    assert large.text.endswith("lower tokenizer.vocab_size to about 310, or use more text")
    assert small.text.endswith("20 of them never: use more text")


def test_positions_that_no_row_reaches_are_a_risk(config: ExperimentConfig) -> None:
    [risk] = risks_of(GOOD, config, 20)
    assert "has 20 positions and rows have 16: the last 4 are never trained" in risk.text
    assert risks_of(changed("length", row=None), config, 20) == []


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (changed("disk", in_all=1001 * MB), "need 1.0 GB and 1.0 GB are free: set training.save_"),
        (changed("memory", growth=1001 * MB), "the run needs 1.0 GB of memory and the device has"),
        (
            changed("memory", growth=None, peak=None, weights=600 * MB, gradients=600 * MB),
            "the run needs more than 1.2 GB of memory and the device has 1.0 GB, so that no step "
            "could be tried: make the model smaller",
        ),
    ],
)
def test_what_is_certain_to_fail(plan: Plan, said: str, config: ExperimentConfig) -> None:
    [risk] = found = risks_of(plan, config, None)
    assert risk.certain and said in risk.text
    assert replace(plan, risks=found).fails and not GOOD.fails


def test_checkpoints_that_are_there_need_no_more_disk(config: ExperimentConfig) -> None:
    assert risks_of(changed("disk", in_all=1300 * MB, present=300 * MB), config, None) == []
    [risk] = risks_of(changed("disk", in_all=1301 * MB, present=300 * MB), config, None)
    assert "need 1.3 GB, of which 300.0 MB are there, and 1.0 GB are free: set" in risk.text


@pytest.mark.parametrize(
    ("limit", "kept", "named"),
    [("null", 4, True), ("3", 3, True), ("2", 2, False), ("2", 6, False), ("null", 1, False)],
)
def test_a_limit_is_a_remedy_only_where_it_is_lower(
    limit: str, kept: int, named: bool, tmp_path: Path
) -> None:
    config = tiny_experiment("gpt2", tmp_path, f"training.save_total_limit={limit}")
    [risk] = risks_of(changed("disk", in_all=1001 * MB, kept=kept), config, None)
    assert ("set training.save_total_limit=2" in risk.text) == named
    assert risk.text.endswith("write elsewhere (output_dir)")


def test_a_smaller_batch_is_the_remedy_where_one_fits(config: ExperimentConfig) -> None:
    batch = LargestBatch(rows=3, how="estimated", dividing=2, passes=4)
    plan = replace(changed("memory", growth=950 * MB), largest_batch=batch)
    [risk] = risks_of(plan, config, None)
    settings = "per_device_train_batch_size=2 training.gradient_accumulation_steps=4 (the same"
    assert settings in risk.text


def test_the_vocabulary_is_counted_in_the_tokens(tmp_path: Path) -> None:
    text = " ".join(["often"] * 12 + ["seldom"] * 3 + ["once"])
    (tmp_path / "text.txt").write_text(text + "\n\n" + "often " * 40)
    settings: tuple[Any, ...] = (
        f"data.train={tmp_path / 'text.txt'}",
        f"data.validation={tmp_path / 'text.txt'}",
        "tokenizer.tokenizer_type=word",
        "data.document=file",
    )
    prepared = prepare(tiny_experiment("lstm", tmp_path, *settings))
    found = count_vocabulary(prepared.train.stream, prepared.tokenizer)  # type: ignore
    assert found.never == 0 and found.ordinary - found.rare == 1  # often
    assert found.rare >= 2
