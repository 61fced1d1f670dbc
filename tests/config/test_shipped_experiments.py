"""Shipped experiments beside files of the user's own."""

from pathlib import Path

import pytest

from model_foundry.config import shipped_experiments
from model_foundry.config.shipped import shipped_configs

WHOLE = (shipped_configs() / "quickstart.yaml").read_text(encoding="utf-8")


def test_files_that_are_no_whole_experiment_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "whole": WHOLE,
        "child": "# A child.\nextends: whole.yaml\nseed: 1\n",
        "partial": "training: {max_steps: 5}\n",
        "broken": "a: [\n",
        "flat": "model: lstm\ndata: a.txt\ntraining: {}\n",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(shipped_experiments, "shipped_configs", lambda: tmp_path)
    found = shipped_experiments.shipped_experiments.__wrapped__()
    assert list(found) == ["child", "whole"]
    assert found["child"].architecture == found["whole"].architecture
    assert found["child"].about == "A child."
