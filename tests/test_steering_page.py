"""docs/steering.md: its commands run, its model opens, and it names every setting."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry.config import TrainingConfig
from model_foundry.config.training_selection import SelectionSettings
from tests.task_runs import foundry

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "steering.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


def test_the_table_names_every_setting_that_chooses_weights() -> None:
    named = set(re.findall(r"^\| `([a-z_]+)", PAGE, re.M))
    assert SelectionSettings.model_fields.keys() <= named
    of_training = TrainingConfig.model_fields.keys() | {"milestones"}
    losses = {"model", "label_smoothing", "confidence_penalty", "z_loss"}
    assert named - losses <= of_training


@pytest.mark.slow
def test_the_commands_of_the_page_run_as_it_says() -> None:
    commands = [shlex.split(block.replace("\\\n", "")) for block in blocks("sh")]
    shorter = {  # the same steps with fewer texts, or fewer steps
        "runs/averaged": ["training.max_steps=4", "training.eval_steps=2"],
        "runs/smoothed": ["training.max_steps=2"],
        "runs/masks": ["training.max_steps=2"],
    }
    for command in commands:
        (place,) = [word.removeprefix("output_dir=") for word in command if "output_dir=" in word]
        less = ["data.train.language.sentences=300", "training.warmup_steps=1"]
        more = [*shorter[place], *less] if place in shorter else []
        code, out, err = foundry(*command[1:], *more)
        assert code == 0, err
        if place == "runs/stopped":
            assert "runs/stopped/model, after step 40, the best" in out
            shown = blocks("text")[0].splitlines()[-2]
            reason, value = shown.rsplit("; ", 1)
            assert reason in err and value.endswith("at step 40")
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"model (\d+)\nmodel_ema \1\n", done.stdout)
