"""The files that `make reference` writes are current, and say what a reader needs."""

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from model_foundry.config import OPTIMIZERS, OptimizerSpec, Section
from model_foundry.config.reference import markdown, setting_lines
from model_foundry.config.schema_words import kind_in_words

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/config.md").read_text()
LINKS = {"model.rnn": "[rnn](#rnn)"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "file"),
    [
        ("json", "configs/schema.json"),
        ("markdown", "docs/config.md"),
        ("text", "tests/config/settings.txt"),
    ],
)
def test_what_make_reference_writes_is_current(form: str, file: str, project: Path) -> None:
    """Of a process of its own, in which no test has registered anything."""
    done = subprocess.run(
        [sys.executable, "-m", "model_foundry", "schema", "--format", form],
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    kept, now = (ROOT / file).read_text().splitlines(), done.stdout.splitlines()
    changes = list(difflib.unified_diff(kept, now, file, "now", n=0, lineterm=""))
    assert not changes, "\n".join(["run `make reference`, and look at the changes:", *changes])


def test_each_setting_has_a_line() -> None:
    lines = setting_lines()
    assert lines == sorted(set(lines))
    assert "training.max_steps: integer (default null)" in lines
    assert "data.train: text | list | mapping (required)" in lines
    assert "training.sgd.nesterov: true or false (default false)" in lines
    assert not [line for line in lines if line.startswith("training.sgd:")]  # a section


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.M)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) == anchors


def test_tables_have_four_columns_and_no_bare_html() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert len(rows) > 250
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert "<" not in re.sub("`[^`]*`", "", PAGE)
    assert "None" not in PAGE


class _Walk(Section):
    """A walk. It ends."""

    pace: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Paces a second | or a minute."""


def test_a_plugin_has_its_chapter() -> None:
    OPTIMIZERS.add(OptimizerSpec(name="walks", target="a:b", schema=_Walk))
    try:
        page = markdown()
    finally:
        OPTIMIZERS.remove("walks")
    assert "- [`training.walks`](#trainingwalks)" in page
    assert "## `training.walks`\n\nA walk. It ends.\n" in page
    meaning = r"Paces a second \| or a minute."
    assert f"| `pace` | number > 0 and ≤ 2 | `1.0` | {meaning} |" in page
    assert "| `walks` | [`training.walks`](#trainingwalks) |  | A walk. |" in page


def test_settings_that_only_some_read_say_so() -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| `mlm_masking`"))
    assert row.endswith(" Read by `masked_lm` only. |")
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| `experiment_name`"))
    assert "Read by" not in row


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 2**31}, "integer ≥ 1"),
        ({"type": ["number", "null"]}, "number, `null`"),
        ({"enum": ["a", 1, True]}, "`a`, `1`, `true`"),
        ({"anyOf": [{"enum": ["a"]}, {"type": "string"}]}, "`a`, a plugin's"),
        ({"anyOf": [{"$ref": "#/$defs/model.rnn"}, {"type": "null"}]}, "[rnn](#rnn), `null`"),
        ({"anyOf": [{"enum": ["a"]}, {"$ref": "#/$defs/expression"}]}, "`a`"),
        ({"type": "array", "items": {"type": "string"}}, "list of: text"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "mapping to: `true` or"),
        ({"type": "object"}, "mapping"),
        ({"type": "object", "properties": {"rename": {}}}, "`{rename: ...}`"),
        ({}, ""),
    ],
)
def test_a_kind_in_words(schema: dict[str, Any], words: str) -> None:
    assert kind_in_words(schema, LINKS).removesuffix(" `false`") == words
