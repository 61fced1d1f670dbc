"""Written files are JSON to every reader, whatever the figures of a run."""

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest

import model_foundry
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.strict_json import strict_json
from model_foundry.training.metrics_log import MetricsLog, read_metrics

NUMBERS = [math.nan, math.inf, -math.inf]
# Texts that are hashed, never read, and files in which no number can fail to be finite.
WITHOUT_FIGURES = {
    *("architectures/saving/native_format", "data/tokens/tokenize", "data/tokens/token_stream"),
    *("foundation/atomic_files", "foundation/file_hashes"),
    *("foundation/locks", "foundation/strict_json", "interventions/registration"),
    "interventions/step",
    *("interventions/tagged", "tokenizer/saving", "tokenizer/tokenizer_factory"),
    *("training/checkpoint/state_file", "training/checkpoint/optimizer_state"),
    *("objectives/labels", "objectives/plugin_results"),
    "cli/data_report",  # settings in one printed line
    *("cli/schema_command", "config/schema_words"),  # defaults, which are finite
    "training/trackers/sample_file",  # texts
}


def refuse(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def parsed(text: str) -> Any:
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_are_not_finite_become_null_or_their_name(number: float) -> None:
    values = {"a": number, "b": [1.5, {"c": number}], "d": (number,), "e": "NaN"}
    written = parsed(strict_json(values))
    assert written == {"a": None, "b": [1.5, {"c": None}], "d": [None], "e": "NaN"}
    assert parsed(strict_json({"a": number}, named=True)) == {"a": str(number)}


@pytest.mark.parametrize("number", NUMBERS)
def test_every_file_of_a_run_is_strict(number: float, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert parsed(run.write_measurement("loss", {"eval/loss": number}).read_text()) == {
        "eval/loss": None
    }
    assert parsed(run.write_diagnosis("step", {"loss": number}).read_text()) == {
        "loss": str(number)
    }
    log = MetricsLog(run.metrics_file)
    log.write(1, {"train/grad_norm": number})
    run.metrics_file.write_text(
        run.metrics_file.read_text() + '{"step": 2, "train/loss": NaN}\n'
    )  # as an older version wrote it
    log.rewind(3)
    lines = [parsed(line) for line in run.metrics_file.read_text().splitlines()]
    assert [line.get("train/grad_norm", line.get("train/loss")) for line in lines] == [None, None]
    assert len(read_metrics(run.metrics_file)) == 2


def test_nothing_else_writes_figures() -> None:
    """Whoever writes JSON with numbers in it does so through `strict_json`."""
    root = Path(model_foundry.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("dumps", "dump")
                and isinstance(node.value, ast.Name)
                and node.value.id == "json"
            ):
                found.add(path.relative_to(root).with_suffix("").as_posix())
    assert found == WITHOUT_FIGURES
