"""Sections of what is registered: parsed by their schemas, filled in, saved, and told apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from model_foundry.config import (
    ARCHITECTURES,
    LOSSES,
    METRICS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    ArchitectureSpec,
    ExperimentConfig,
    ModelConfig,
    ObjectiveSpec,
    OptimizerSpec,
    ScheduleSpec,
    Section,
    TrainingConfig,
    load_config,
    save_config,
    settings_without_effect,
    validate,
)
from model_foundry.config.on_resume import OnResume, marked
from model_foundry.errors import ConfigError
from model_foundry.registry import Registry
from model_foundry.training.run_fingerprint import as_settings, changed_settings

RNN = {"architecture": "lstm", "rnn": {"embedding_size": 4, "hidden_size": 4}}


class _Momentum(Section):
    """Settings of an optimizer; all have defaults."""

    momentum: Annotated[float, Field(ge=0)] = 0.0
    print_every: Annotated[int, OnResume.FREE] = 5


class _Beta(BaseModel):
    """Settings as another package may write them: with pydantic's own defaults."""

    beta: float


class _Power(Section):
    """Settings of a schedule and of an objective."""

    power: float = 2.0


ADDED: list[tuple[Registry[Any], Any]] = [
    (OPTIMIZERS, OptimizerSpec(name="rolls", target="a:b", schema=_Momentum)),
    (OPTIMIZERS, OptimizerSpec(name="beats", target="a:b", schema=_Beta)),
    (SCHEDULES, ScheduleSpec(name="falls", target="a:b", schema=_Power)),
    (
        OBJECTIVES,
        ObjectiveSpec(name="guesses", target="a:B", schema=_Power, variant_of="causal_lm"),
    ),
]


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    for registry, spec in ADDED:
        registry.add(spec)
    yield
    for registry, spec in ADDED:
        registry.remove(spec.name)


def load(**training: Any) -> ExperimentConfig:
    raw = {"experiment_name": "one", "data": {"train": "a.txt"}, "model": RNN}
    return validate({**raw, "training": {"max_steps": 5, **training}}, "file")


def refusal(**training: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**training)
    return [line.removeprefix("file: ") for line in str(caught.value).splitlines()]


def test_a_section_is_parsed_or_filled_with_its_defaults() -> None:
    given = load(optimizer="rolls", rolls={"momentum": 0.9}, objective="guesses")
    assert given.training.section_of("rolls") == _Momentum(momentum=0.9)
    assert given.training.section_of("guesses") == _Power()
    assert given.training.section_of("adamw") is None
    assert given.training.section_of("falls") == _Power()  # which is not used
    with pytest.raises(ConfigError, match=r"^training\.beats: is required, with beta$"):
        given.training.section_of("beats")


def test_sections_of_all_kinds_are_saved_and_loaded(tmp_path: Path) -> None:
    config = load(
        optimizer="beats",
        beats={"beta": 0.5},
        lr_scheduler_type="falls",
        objective="guesses",
        guesses={"power": 3.0},
        rolls={"momentum": 0.1},  # of another experiment of the study
    )
    (tmp_path / "saved.yaml").write_text(save_config(config))
    again = load_config(tmp_path / "saved.yaml")
    assert again == config
    assert save_config(again) == save_config(config)
    assert again.training.section_of("falls") == _Power()
    assert validate(config.model_dump(exclude_unset=True), "again") == config


@pytest.fixture
def lines() -> Iterator[None]:
    """An architecture whose section has defaults, and one whose section has none."""
    for name, schema in (("line", _Power), ("ray", _Beta)):
        ARCHITECTURES.add(ArchitectureSpec(name=name, target="a:B", section=name, schema=schema))
    yield
    for name in ("line", "ray"):
        ARCHITECTURES.remove(name)


@pytest.mark.usefixtures("lines")
def test_a_model_section_may_be_left_out_if_each_setting_has_a_default(tmp_path: Path) -> None:
    config = load()
    raw = {**config.model_dump(exclude_unset=True), "model": {"architecture": "line"}}
    short = validate(raw, "short")
    assert short.model.section == _Power() and short.model.registered_sections()["line"] is _Power
    assert short == validate({**raw, "model": {"architecture": "line", "line": {}}}, "in full")
    (tmp_path / "saved.yaml").write_text(save_config(short))
    assert load_config(tmp_path / "saved.yaml") == short
    with pytest.raises(ConfigError, match="'ray' requires 'ray' configuration; add the section"):
        validate({**raw, "model": {"architecture": "ray"}}, "short")


def test_an_assignment_brings_the_section_and_is_checked() -> None:
    config = load()
    config.training.optimizer = "rolls"
    assert config.training.section_of("rolls") == _Momentum()
    assert "rolls" in config.model_dump()["training"]
    with pytest.raises(ValueError, match="is required, with beta"):
        config.training.optimizer = "beats"
    assert config.training.optimizer == "rolls"
    with pytest.raises(ValueError, match="unknown key"):
        config.training.rols = {}  # type: ignore[attr-defined]
    assert "rols" not in config.model_dump()["training"]


@pytest.mark.parametrize(
    ("training", "lines"),
    [
        ({"rolls": {"momentm": 1}}, ["rolls.momentm: unknown key; did you mean 'momentum'?"]),
        ({"rolls": {"momentum": -1.0}}, ["rolls.momentum: must be >= 0, got -1.0"]),
        ({"rolls": 3}, ["rolls: must be a mapping, got 3"]),
        ({"rols": {}}, ["rols: unknown key; did you mean 'rolls'?"]),
        (
            {"print_every": 9},
            ["print_every: unknown key; did you mean 'training.rolls.print_every'?"],
        ),
        ({"optimizer": "beats"}, ["beats: is required, with beta"]),
        (
            {"optimizer": "beats", "beats": {"beta": 0.5, "bta": 1}},
            ["beats.bta: unknown key; did you mean 'beta'?"],
        ),
        (
            {"learning_rate": -1.0, "trust": 1},
            [
                "learning_rate: must be > 0, got -1.0",
                "trust: unknown key; valid keys here: adadelta, adagrad, adam_beta1, ...",
            ],
        ),
        # all at once, those of the checks between settings included
        (
            {"rolls": {"momentum": -1.0}, "guesses": {"power": "x"}, "warmup_steps": 9},
            [
                "rolls.momentum: must be >= 0, got -1.0",
                "guesses.power: must be a number, got 'x'",
                "warmup_steps: must be <= training.max_steps (=5), got 9; lower the first or raise "
                "the second",
            ],
        ),
    ],
)
def test_faults_are_named_from_the_root(training: dict[str, Any], lines: list[str]) -> None:
    begin = [f"training.{line}".removesuffix("...") for line in lines]
    found = refusal(**training)
    assert len(found) == len(lines)
    assert [told[: len(line)] for told, line in zip(found, begin, strict=True)] == begin
    assert all(told == line for told, line in zip(found, begin, strict=True) if "valid" not in line)


def test_a_section_of_what_is_not_registered_waits_for_it() -> None:
    (line,) = refusal(optimizer="rollz", rollz={"a": 1})
    assert line.startswith("training.optimizer: Unknown optimizer: 'rollz'; did you mean 'rolls'?")
    assert TrainingConfig(max_steps=1, optimizer="rollz", rollz={"a": 1})  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="wings"):  # which can be no section
        ModelConfig(architecture="nope", wings=2)
    assert ModelConfig(architecture="nope", wings={"span": 2})


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("epochs", "which is taken"),
        ("section_of", "which is taken"),
        ("model_dump", "which is taken"),
        ("rolls", "which is taken"),
        ("a.b", "where a name cannot have a dot"),
    ],
)
def test_a_section_cannot_hide_another_setting(name: str, problem: str) -> None:
    with pytest.raises(TypeError, match=rf"would stand at training\.{name}, {problem}"):
        SCHEDULES.add(ScheduleSpec(name=name, target="a:b", schema=_Power))
    assert name not in SCHEDULES


def test_a_name_without_a_section_hides_nothing() -> None:
    SCHEDULES.add(ScheduleSpec(name="rolls", target="a:b"))
    config = load(optimizer="rolls", lr_scheduler_type="rolls")
    assert config.training.model_extra == {"rolls": _Momentum()}
    SCHEDULES.remove("rolls")


def test_a_section_that_was_just_registered_is_proposed() -> None:
    assert "did you mean" not in refusal(swarm={})[0]
    SCHEDULES.add(ScheduleSpec(name="swarms", target="a:b", schema=_Power))
    assert refusal(swarm={}) == ["training.swarm: unknown key; did you mean 'swarms'?"]
    SCHEDULES.remove("swarms")


def test_loading_does_not_look_into_the_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**group: str) -> None:
        raise AssertionError(f"looked for {group}")

    monkeypatch.setattr("model_foundry.registry.metadata.entry_points", refused)
    for registry in (OBJECTIVES, OPTIMIZERS, SCHEDULES, METRICS, LOSSES, ARCHITECTURES):
        monkeypatch.setattr(registry, "_points", None)
    settings_without_effect(load(optimizer="rolls", losses={"z_loss": 0.1}, metrics=["loss"]))


def test_marks_of_a_section_decide_about_resuming() -> None:
    assert "training.rolls.print_every" in marked(OnResume.FREE, ExperimentConfig)
    saved = as_settings(load(optimizer="rolls"))
    assert changed_settings(saved, as_settings(load(optimizer="rolls", rolls={}))) == []
    now = load(optimizer="rolls", rolls={"momentum": 0.5, "print_every": 9})
    assert changed_settings(saved, as_settings(now)) == ["training.rolls.momentum: 0.0 -> 0.5"]


def test_the_metric_of_the_best_checkpoint_is_compared_as_it_is_in_force() -> None:
    saved = as_settings(load())
    same = load(
        metrics=["loss", "accuracy"], metric_for_best_model="loss", train_metrics=["accuracy"]
    )
    assert changed_settings(saved, as_settings(same)) == []
    other = load(metrics=["accuracy", "loss"])
    named = load(metrics=["accuracy", "loss"], metric_for_best_model="accuracy")
    line = "training.metric_for_best_model: loss -> accuracy"
    assert changed_settings(saved, as_settings(named)) == [line]
    first = "training.metrics (the first decides which checkpoint is the best): loss -> accuracy"
    assert changed_settings(saved, as_settings(other), best_is_named=False) == [first]
    wanted = load(metrics=["accuracy", "loss"], metric_for_best_model="loss")  # not the first
    found = changed_settings(as_settings(wanted), as_settings(other), best_is_named=False)
    assert found == [line]
