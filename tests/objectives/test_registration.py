"""Registered tasks: roles of processors, and what follows from their class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import OBJECTIVES
from model_foundry.config.specs import TEXT_METRICS
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.objectives import CausalLM, RecordObjective, register_objective
from model_foundry.objectives.labels import Labels
from tests.task_runs import foundry, tasks_loaded, write_data, write_task

PLUGIN = """
from model_foundry.objectives import RecordObjective, register_objective
from model_foundry.objectives.labels import Labels

@register_objective("classify", model_kind="array_classifier")
class Classify(RecordObjective):
    columns = ("x",)
    processor_types = {ROLE: Labels}

    def encode(self, records, processors):
        return {}
"""


@pytest.fixture(autouse=True)
def _tasks() -> Iterator[None]:
    with tasks_loaded():
        yield


def of_records(**attributes: Any) -> type[RecordObjective]:
    """Return a task on records with these attributes."""
    made = dict.fromkeys(("encode", "model_arguments"), lambda *_: {})
    return type("Task", (RecordObjective,), {"columns": (), **made, **attributes})


@pytest.mark.parametrize("role", ["../labels", "a.b", "config.yaml", "Labels", "", "-x", 3])
def test_a_role_of_another_form_is_refused(role: Any) -> None:
    law = rf"Task\.processor_types: the role {role!r} must consist of a-z, 0-9, '_' and '-'"
    with pytest.raises(TypeError, match=law):
        register_objective("of_role")(of_records(processor_types={role: Labels}))
    assert "of_role" not in OBJECTIVES


@pytest.mark.parametrize("role", ["model", "checkpoints", "evaluation", "diagnostics"])
def test_a_role_is_no_directory_of_a_run(role: str, tmp_path: Path) -> None:
    write_data(tmp_path)
    plugin = tmp_path / "roles.py"
    plugin.write_text(PLUGIN.replace("ROLE", repr(role)))
    before = sorted(tmp_path.iterdir())
    code, _, err = foundry("train", file := write_task("arrays", tmp_path), "--plugin", plugin)
    assert code == 2, err
    (line,) = err.splitlines()
    assert line.startswith(f"error: plugin {plugin}")
    assert f"Classify.processor_types: the role {role!r} is the name of a directory of" in line
    assert sorted(tmp_path.iterdir()) == sorted([*before, file])


def test_the_examples_and_their_units_follow_from_the_class() -> None:
    register_objective("of_text")(type("Copied", (CausalLM,), {}))
    register_objective("of_records")(of_records(units={"symbols": "labels"}))
    try:
        text, records = OBJECTIVES["of_text"], OBJECTIVES["of_records"]
    finally:
        OBJECTIVES.remove("of_text")
        OBJECTIVES.remove("of_records")
    assert (text.reads_token_stream, records.reads_token_stream) == (True, False)
    assert (text.units, records.units) == (("tokens", "words"), ("symbols",))
    assert (text.metrics, records.metrics) == (TEXT_METRICS, ("loss",))


def test_milestones_are_in_the_units_of_the_task(tmp_path: Path) -> None:
    write_data(tmp_path)
    base, spec = OBJECTIVES.load("write_pairs"), OBJECTIVES["write_pairs"]
    task = type("Counted", (base,), {"units": {"tokens": "labels"}})
    register_objective("write_tokens", model_kind=spec.model_kind, schema=spec.schema)(task)
    settings = "{objective: write_tokens, write_tokens: {}, max_steps: 6, warmup_steps: 1, "
    settings += "per_device_train_batch_size: 8, milestones: {tokens: 100}}"
    file = write_task("pairs", tmp_path, "training.max_steps=6")
    try:
        code, _, err = foundry("train", file, f"training={settings}")
    finally:
        OBJECTIVES.remove("write_tokens")
    assert code == 0, err
    names = {path.name for path in RunDirectory(tmp_path / "run").checkpoints.iterdir()}
    assert {"step-00000006"} < names  # eight rows of about 4.5 symbols a step
