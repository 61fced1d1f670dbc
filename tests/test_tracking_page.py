"""The examples on the page about tracking run."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from model_foundry import train
from model_foundry.config import TRACKERS
from model_foundry.foundation.plugins import load_plugin
from model_foundry.training.metrics_log import read_metrics
from tests.experiments import tiny_experiment

PAGE = Path(__file__).parents[1] / "docs" / "tracking.md"


def block(language: str) -> str:
    match = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert match
    return match[1]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[None]:
    plugin = tmp_path / "table.py"
    plugin.write_text(block("python"), encoding="utf-8")
    load_plugin(plugin)
    yield
    TRACKERS.remove("table")


@pytest.mark.usefixtures("table")
def test_the_tracker_of_the_page_writes_its_table(tmp_path: Path) -> None:
    result = train(tiny_experiment("rnn", tmp_path, "tracking.trackers=[table]"))
    with (result.output_dir / "table.csv").open(newline="") as file:
        rows = [(int(step), float(loss)) for step, loss in csv.reader(file)]
    lines = read_metrics(result.output_dir / "metrics.jsonl")
    assert rows == [(line["step"], line["train/loss"]) for line in lines if "train/loss" in line]
    assert len(rows) == 6


def test_the_settings_of_the_page_track_with_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    tracking = yaml.safe_load(block("yaml"))["tracking"] | {"histogram_steps": 2}
    train(tiny_experiment("gpt2", tmp_path, f"tracking={yaml.dump(tracking).strip()}"))
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    assert (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").count("\n") == 2


def test_the_page_names_every_tracker() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in TRACKERS if f"`{name}`" not in text] == []
