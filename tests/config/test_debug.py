"""The section `debug`: what a limit may be, what a resumed run may change, and the presets."""

from pathlib import Path

import pytest

from model_foundry.config import load_config, settings_without_effect
from model_foundry.config.debug import DebugConfig
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.on_resume import OnResume, marked
from model_foundry.config.shipped import shipped_configs
from model_foundry.config.yaml_file import read_yaml
from model_foundry.errors import ConfigError
from tests.experiments import tiny_experiment

PRESETS = sorted((shipped_configs() / "debug").glob("*.yaml"))
TINY = shipped_configs() / "tiny_gpt2.yaml"


@pytest.mark.parametrize("limit", [1, 3, 0.01, 0.999])
def test_a_limit_is_a_number_of_batches_or_a_share(limit: float, tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, f"debug.limit_train={limit}")
    assert config.debug.limit_train == limit
    assert type(config.debug.limit_train) is type(limit)


@pytest.mark.parametrize("limit", ["0", "-1", "0.0", "1.0", "1.5", "true", "all", "[1]"])
def test_another_limit_is_refused_in_one_line(limit: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        tiny_experiment("gpt2", tmp_path, f"debug.limit_validation={limit}")
    [line] = str(refused.value).splitlines()
    assert "debug.limit_validation: must be a number of batches (an integer > 0) or a share" in line
    assert line.endswith("leave it out to read everything")


@pytest.mark.parametrize(
    ("setting", "law"),
    [
        ("debug.overfit_below=1", "must be < 1"),
        ("debug.profiler=line", "must be one of 'simple', 'advanced', 'torch'"),
        ("debug.log_level=loud", "must be one of 'debug', 'info', 'warning', 'error'"),
        ("debug.limit_trian=1", "did you mean 'limit_train'?"),
        ("training.save_strategy=never", "must be one of 'steps', 'no'"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(setting: str, law: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        tiny_experiment("gpt2", tmp_path, setting)
    [line] = str(refused.value).splitlines()
    assert law in line


def test_what_decides_the_training_must_stay_when_a_run_is_resumed() -> None:
    free = set(marked(OnResume.FREE, ExperimentConfig))
    fixed = {name for name in DebugConfig.model_fields if f"debug.{name}" not in free}
    assert fixed == {"limit_train", "limit_validation", "fixed_draws", "regularization"}


def test_settings_of_checkpoints_have_no_effect_without_any(tmp_path: Path) -> None:
    settings = ("training.save_steps=2", "training.milestones={steps: [1]}")
    assert settings_without_effect(tiny_experiment("gpt2", tmp_path, *settings)) == []
    lines = settings_without_effect(
        tiny_experiment("gpt2", tmp_path, *settings, "training.save_strategy=no")
    )
    assert lines == [
        f"training.{name} has no effect: training.save_strategy is 'no'"
        for name in ("save_steps", "milestones")
    ]


def test_the_presets_are_those_of_the_page() -> None:
    names = {path.stem for path in PRESETS}
    assert names == {"default", "fast_dev_run", "fdr", "limit", "overfit", "profiler"}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_begins_with_what_it_is_for_and_its_command(path: Path) -> None:
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line)
    assert comment[-1] == f"#   foundry train exp.yaml debug={path.stem}"
    assert len(comment) > 1
    assert read_yaml(str(path))[0]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_suits_an_experiment_without_a_warning(path: Path) -> None:
    config = load_config(TINY, overrides=[f"debug={path.stem}"])
    assert settings_without_effect(config) == []
    assert config.training.save_strategy == "no"
    assert config.debug.start_over


def test_the_short_name_is_the_long_one() -> None:
    short, long = (
        load_config(TINY, overrides=[f"debug={name}"]) for name in ("fdr", "fast_dev_run")
    )
    assert short.model_dump() == long.model_dump()


def test_an_override_has_the_last_word() -> None:
    config = load_config(TINY, overrides=["debug.limit_train=2", "debug=overfit"])
    assert config.debug.limit_train == 2
    assert config.debug.overfit_below == 0.2
