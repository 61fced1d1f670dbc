"""`foundry schema`: one description of all settings in three forms."""

import json
from pathlib import Path

from tests.cli.conftest import Cli

PLUGIN = '''
"""An optimizer with a setting."""
from model_foundry.config import OPTIMIZERS, OptimizerSpec, Section

class Settings(Section):
    """Its settings."""
    stride: int = 3
    """Length of a stride."""

OPTIMIZERS.add(OptimizerSpec(name="strides", target="strides:make", schema=Settings))
'''


def test_a_schema_comes_to_the_standard_output_or_into_a_file(here: Path, cli: Cli) -> None:
    code, out, err = cli("schema")
    assert (code, err) == (0, "")
    assert "training" in json.loads(out)["properties"]
    assert cli("schema", "--output", "schema.json") == (0, "schema.json: written\n", "")
    assert (here / "schema.json").read_text() == out


def test_other_forms(cli: Cli) -> None:
    assert cli("schema", "--format", "markdown")[1].startswith("# Settings\n")
    assert "seed: integer | mapping (default 42)\n" in cli("schema", "--format", "text")[1]


def test_a_form_that_is_none_is_refused(cli: Cli) -> None:
    code, _, err = cli("schema", "--format", "yaml")
    assert code == 2
    assert "'yaml' is not one of 'json', 'markdown', 'text'" in err


def test_a_file_that_cannot_be_written_is_one_line(here: Path, cli: Cli) -> None:
    code, out, err = cli("schema", "--output", "missing/schema.json")
    assert (code, out) == (8, "")
    assert err.startswith("error: missing/schema.json: cannot be written (")
    assert list(here.iterdir()) == []


def test_a_plugin_has_its_section(here: Path, cli: Cli) -> None:
    from model_foundry.config import OPTIMIZERS

    (here / "strides.py").write_text(PLUGIN)
    try:
        out = cli("schema", "--plugin", "strides.py")[1]
    finally:
        OPTIMIZERS.remove("strides")
    section = json.loads(out)["$defs"]["training.strides"]
    assert section["properties"]["stride"]["description"] == "Length of a stride."
