"""`foundry probe`: the lines that it prints, its options, and its mistakes."""

from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import save_config
from model_foundry.errors import ConfigError
from model_foundry.experiment import probe as probes
from tests.cli.conftest import Cli
from tests.experiments import tiny_experiment

REPORT = probes.ProbeReport(
    model="runs/a/model",
    frozen=False,
    seeds=[7, 8],
    figures={"accuracy": [0.5, 0.75], "macro_f1": [0.25, 0.25]},
    majority={"accuracy": 0.4, "macro_f1": 0.1},
)


def test_the_options_are_passed_on_and_the_report_is_printed(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def probe(*given: Any, **options: Any) -> probes.ProbeReport:
        asked.append((given, options))
        return REPORT

    monkeypatch.setattr(probes, "probe", probe)
    (here / "task.yaml").write_text(save_config(tiny_experiment("gpt2", here)))
    given = ("runs/a", "task.yaml", "training.max_steps=2", "--seeds", "2")
    code, out, _ = cli("probe", *given, "--whole")
    assert (code, out.splitlines()) == (
        0,
        [
            "runs/a/model: body whole, 2 seeds",
            "accuracy  0.6250 (0.5000 to 0.7500), majority 0.4000",
            "macro f1  0.2500 (0.2500 to 0.2500), majority 0.1000",
        ],
    )
    assert cli("probe", *given, "--frozen")[0] == 0
    assert cli("probe", *given)[0] == 0
    assert [options for _, options in asked] == [
        {"seeds": 2, "frozen": False},
        {"seeds": 2, "frozen": True},
        {"seeds": 2, "frozen": True},
    ]
    code, _, err = cli("probe", *given, "--frozen", "--whole")
    assert code == 2
    assert "--frozen and --whole exclude each other; give one" in err
    (model, config), _ = asked[0]
    assert (model, config.training.max_steps) == (Path("runs/a"), 2)


def test_a_mistake_is_told_in_a_line(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(*given: Any, **options: Any) -> probes.ProbeReport:
        raise ConfigError("training.objective: no head")

    (here / "task.yaml").write_text(save_config(tiny_experiment("gpt2", here)))
    code, _, err = cli("probe", "runs/none", "task.yaml")
    assert (code, err.count("\n")) == (2, 1)
    assert "error: runs/none: no such directory" in err
    monkeypatch.setattr(probes, "probe", probe)
    assert cli("probe", "runs/none", "task.yaml")[0] == 2
    assert cli("probe", "runs/none", "task.yaml", "--seeds", "0")[0] == 2
