"""Single sections: strictness, defaults that follow other fields, assignment, model sections."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from model_foundry.config import (
    ARCHITECTURES,
    ArchitectureSpec,
    DataConfig,
    ExperimentConfig,
    HubSource,
    LanguageSource,
    MilestonesConfig,
    ModelConfig,
    RNNModelConfig,
    Section,
    TokenizerConfig,
    TrainingConfig,
    TransformerModelConfig,
    save_config,
    validate,
)
from model_foundry.config.yaml_reader import parse_yaml
from tests.experiments import apply_override

TRANSFORMER = {"layers": 2, "hidden_size": 32, "attention_heads": 2}
RECURRENT = {"embedding_size": 8, "hidden_size": 8}
EXPERIMENT = {
    "experiment_name": "one",
    "data": {"train": "a.txt"},
    "model": {"architecture": "gpt2", "transformer": TRANSFORMER},
    "training": {"max_steps": 5},
}


def experiment() -> ExperimentConfig:
    return ExperimentConfig.model_validate(EXPERIMENT)


def all_sections(root: type[BaseModel] = Section) -> list[type[BaseModel]]:
    found = root.__subclasses__()
    return found + [below for section in found for below in all_sections(section)]


@pytest.mark.parametrize(
    "section", [s for s in all_sections() if s.__module__.startswith("model_foundry.")]
)
def test_every_field_says_what_it_is(section: type[BaseModel]) -> None:
    assert section.__doc__
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name} has no docstring"


@pytest.mark.parametrize("value", ["7", True, 7.0, None])
def test_a_number_is_no_text_and_no_truth(value: Any) -> None:
    with pytest.raises(ValidationError):
        TokenizerConfig(vocab_size=value)


def test_a_whole_number_will_do_for_a_float() -> None:
    assert TrainingConfig(learning_rate=1).learning_rate == 1.0


def test_widths_that_are_left_out_follow_the_hidden_size() -> None:
    section = TransformerModelConfig(**TRANSFORMER)
    assert section.embedding_size == 32
    assert section.intermediate_hidden_size == 128


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("a.txt", str),
        (Path("a.txt"), str),
        (["a.txt", "b/*.txt"], list),
        ({"hub": "owner/name", "split": "validation"}, HubSource),
        ({"language": {"sentences": 3}}, LanguageSource),
    ],
)
def test_the_kind_of_a_source_is_seen_from_its_form(source: Any, kind: type) -> None:
    assert type(DataConfig(train=source).train) is kind


def test_the_cache_is_the_field_then_the_environment_then_the_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOUNDRY_CACHE", "/from/environment")
    assert DataConfig(train="a", cache_dir="/from/field").cache == Path("/from/field")
    assert DataConfig(train="a").cache == Path("/from/environment")
    monkeypatch.delenv("FOUNDRY_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert DataConfig(train="a").cache == Path("/home/someone/.cache/model_foundry")


def test_the_run_directory_follows_the_name() -> None:
    assert experiment().output_dir == Path("runs/one")


def test_one_seed_is_that_of_everything_but_the_texts() -> None:
    config = experiment()
    config.seed = 7
    assert config.seeds.model_dump() == {"split": 42, "init": 7, "data": 7, "dropout": 7}
    config = ExperimentConfig.model_validate(EXPERIMENT | {"seed": {"init": 1}})
    assert config.seeds.model_dump() == {"split": 42, "init": 1, "data": 42, "dropout": 42}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.learning_rate", -1.0),
        ("training.no_such_field", 1),
        ("training.save_total_limit", 1),
        ("training.milestones.words", "babylmm"),
        ("data.train", []),
        ("model.transformer", None),
        ("model.transformer.attention_heads", 3),
        ("model.architecture", "lstm"),
        ("experiment_name", "a/b"),
        ("model", {"architecture": "lstm"}),
        ("output_dir", Path("/")),
    ],
)
def test_a_refused_assignment_leaves_everything_as_it_was(path: str, value: Any) -> None:
    config = experiment()
    *parents, name = path.split(".")
    owner: Any = config
    for parent in parents:
        owner = getattr(owner, parent)
    with pytest.raises(ValidationError):
        setattr(owner, name, value)
    assert config == experiment()
    assert config.model_fields_set == experiment().model_fields_set


def test_a_good_assignment_is_taken() -> None:
    config = experiment()
    config.training.max_steps = 9
    config.output_dir = "elsewhere"
    assert config.training.max_steps == 9
    assert config.output_dir == Path("elsewhere")


def overridden(*overrides: str) -> ExperimentConfig:
    raw = {**EXPERIMENT, "training": {"max_steps": 5}}
    for override in overrides:
        apply_override(raw, override)
    return validate(raw, "file")


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("words=babylm", "words", "babylm"),
        ("words=5000000000", "words", 5 * 10**9),
        ("words=[9, 4000000000, 9, 1]", "words", [1, 9, 4 * 10**9]),
        ("words=null", "words", None),
        ("tokens=7", "tokens", 7),
        ("tokens=[7, 2]", "tokens", [2, 7]),
        ("steps=[3, 1]", "steps", [1, 3]),
        ("logarithmic=1000", "logarithmic", 1000),
        ("save_only_model=false", "save_only_model", False),
    ],
)
def test_milestones_are_set_by_an_override_and_saved_as_they_are(
    override: str, field: str, value: Any
) -> None:
    config = overridden(f"training.milestones.{override}")
    assert getattr(config.training.milestones, field) == value
    assert validate(parse_yaml(save_config(config), "saved"), "saved") == config


def test_two_checkpoints_can_be_kept_and_all_are_unless_told() -> None:
    assert overridden("training.save_total_limit=2").training.save_total_limit == 2
    assert TrainingConfig().save_total_limit is None


def test_milestones_of_one_experiment_are_not_those_of_another() -> None:
    TrainingConfig().milestones.steps.append(3)
    assert TrainingConfig().milestones == MilestonesConfig()


def test_a_missing_section_is_named_with_its_architecture() -> None:
    with pytest.raises(ValidationError, match="Architecture 'gpt2' requires 'transformer' conf"):
        ModelConfig(architecture="gpt2")
    with pytest.raises(ValidationError, match="Architecture 'gru' requires 'rnn' configuration"):
        ModelConfig(architecture="gru", transformer=TransformerModelConfig(**TRANSFORMER))


def test_the_section_is_the_one_that_the_architecture_reads() -> None:
    rnn, transformer = RNNModelConfig(**RECURRENT), TransformerModelConfig(**TRANSFORMER)
    assert ModelConfig(architecture="lstm", rnn=rnn, transformer=transformer).section == rnn
    assert ModelConfig(architecture="bert", rnn=rnn, transformer=transformer).section == transformer


class Widths(BaseModel):
    width: int


@pytest.fixture
def foreign_architecture() -> Any:
    spec = ArchitectureSpec(name="wide", target="nowhere:Wide", section="wide", schema=Widths)
    ARCHITECTURES.add(spec)
    yield spec
    ARCHITECTURES.remove("wide")


def test_a_name_that_nobody_registered_keeps_its_sections_for_a_plugin() -> None:
    config = ModelConfig.model_validate({"architecture": "wide", "wide": {"width": 3}})
    assert config.model_extra == {"wide": {"width": 3}}
    with pytest.raises(ValidationError, match="layers: unknown key"):
        ModelConfig.model_validate({"architecture": "wide", "layers": 3})


@pytest.mark.usefixtures("foreign_architecture")
def test_an_architecture_of_another_package_brings_its_section() -> None:
    config = ModelConfig.model_validate({"architecture": "wide", "wide": {"width": 3}})
    assert config.section == Widths(width=3)
    assert ModelConfig.model_validate(config.model_dump()) == config


@pytest.mark.usefixtures("foreign_architecture")
@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "Architecture 'wide' requires 'wide' configuration"),
        ({"wide": {"width": "3.5"}}, "wide.width: "),
        ({"wide": {}}, "wide.width: "),
        ({"wide": 3}, "wide: must be a mapping, got 3"),
        ({"wide": {"width": 3}, "narrow": {}}, "narrow: unknown key"),
    ],
)
def test_the_section_of_another_package_is_checked(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({"architecture": "wide", **section})
