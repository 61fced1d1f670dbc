"""`foundry new`: one file, never over another one, and what to do next."""

from pathlib import Path

import pytest

from model_foundry.config import ARCHITECTURES, load_config
from tests.cli.conftest import Cli

PLUGIN = '''
from model_foundry.config import ARCHITECTURES, ArchitectureSpec, Section

class Pace(Section):
    """A pace."""
    stride: int
    """Length of a stride."""

ARCHITECTURES.add(ArchitectureSpec(name="walk", target="a:B", section="walk", schema=Pace))
'''


def test_it_writes_a_file_and_names_the_next_command(here: Path, cli: Cli) -> None:
    code, out, err = cli("new", "my first.yaml", "--architecture", "gru")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "my first.yaml: written, begun from tiny_gru",
        "next  foundry train 'my first.yaml'",
    ]
    assert [path.name for path in here.iterdir()] == ["my first.yaml"]
    assert load_config("my first.yaml").experiment_name == "my-first"


def test_what_has_yet_to_be_given_is_in_the_command(cli: Cli) -> None:
    assert cli("new", "my.yaml", "--from", "vit_digits")[1].splitlines() == [
        "my.yaml: written, begun from vit_digits",
        "next  foundry train my.yaml data.train=...",
    ]


def test_a_plugin_is_in_the_command(here: Path, cli: Cli) -> None:
    (here / "walk.py").write_text(PLUGIN)
    try:
        out = cli("new", "my.yaml", "-a", "walk", "--plugin", "walk.py")[1]
    finally:
        ARCHITECTURES.remove("walk")
    assert out.splitlines() == [
        "my.yaml: written",
        "next  foundry train my.yaml model.walk.stride=... --plugin walk.py",
    ]


def test_it_replaces_a_file_only_with_force(here: Path, cli: Cli) -> None:
    (here / "my.yaml").write_text("mine\n")
    code, out, err = cli("new", "my.yaml", "-a", "lstm")
    assert (code, out) == (2, "")
    assert err == "error: my.yaml: exists; name another file, or replace it with --force\n"
    assert (here / "my.yaml").read_text() == "mine\n"
    assert cli("new", "my.yaml", "-a", "lstm", "--force")[0] == 0
    assert "architecture: lstm" in (here / "my.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my", "-a", "lstm"], "my: an experiment file ends in .yaml; name it my.yaml"),
        (["no/my.yaml", "-a", "lstm"], "no/my.yaml: there is no directory no; make it, or"),
        (["dir.yaml", "-a", "lstm", "--force"], "dir.yaml: is a directory; name a file"),
        (["my.yaml"], "name an architecture with --architecture"),
        (["my.yaml", "-a", "lstn"], "did you mean 'lstm'?"),
        (["my.yaml", "--from", "tiny_ls"], "did you mean 'tiny_lstm'?"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, here: Path, cli: Cli) -> None:
    (here / "dir.yaml").mkdir()
    code, out, err = cli("new", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["dir.yaml"]


def test_shipped_experiments_are_listed_with_what_they_are(cli: Cli) -> None:
    lines = cli("list", "configs")[1].splitlines()
    assert "tiny_lstm: A tiny LSTM, trained in under a minute on two cores." in lines
    assert "gpt2_small: GPT-2 small (Radford et al. 2019)." in lines
