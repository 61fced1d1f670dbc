"""Commands under the names of other programs, with any path, from any shell."""

import shlex
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from model_foundry import __version__
from model_foundry.cli import commands
from model_foundry.cli.other_tools import FOREIGN
from model_foundry.cli.summary import _with_plugins
from model_foundry.objectives.language import filling, generating
from tests.cli.conftest import Cli
from tests.cli.test_errors import COMMANDS
from tests.config.conftest import CORPUS, GOOD


@pytest.fixture
def here(here: Path) -> Path:
    (here / "good.yaml").write_text(GOOD)
    (here / "corpus.txt").write_text(CORPUS)
    return here


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_command_of_elsewhere_gets_its_sentence(cli: Cli, name: str) -> None:
    code, _, err = cli(name, "runs/one")
    assert code == 2
    [line] = err.splitlines()
    assert line.startswith(f"error: no such command {name!r}: {FOREIGN[name]}")
    assert "Did you mean" not in err


def test_the_table_names_no_command_of_ours_and_sends_to_those_only() -> None:
    ours = set(get_command(commands.app).commands)  # type: ignore[attr-defined]
    assert ours.isdisjoint(FOREIGN)
    named = {said.split("`foundry ")[1].split("`")[0] for said in FOREIGN.values() if "`f" in said}
    assert {name.split()[0] for name in named} <= ours | {"--version"}


def test_a_misspelt_command_is_still_told_its_name(cli: Cli) -> None:
    assert "did you mean 'validate'?" in cli("valdate", "good.yaml")[2]


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version") == (0, f"foundry {__version__}\n", "")


@pytest.mark.parametrize("seed", [2**63, 10**30, -1])
def test_a_seed_that_no_generator_counts_to_is_refused(cli: Cli, seed: int) -> None:
    code, _, err = cli("generate", "runs/one", "--seed", str(seed))
    assert code == 2
    assert f"must be >= 0 and < 2**63, got {seed}" in " ".join(err.split())


AWKWARD = ["a b", "it's", 'a"b', "$HOME", "-dash", "--fresh", "\u00f6", "a;b", "*", "a\\b", "!x"]


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("generates", [True, False])
def test_the_next_command_can_be_pasted(name: str, generates: bool) -> None:
    run = Path(name)
    command = generating(run) if generates else filling(run / "model", "[MASK]")
    words = shlex.split(_with_plugins(command, [run]))
    if generates:
        assert words[:2] == ["foundry", "generate"]
        assert Path(words[2]) == Path(name) and not words[2].startswith("-")
        assert words[3:] == ["--prompt", "The", "--plugin", words[2]]
    else:
        assert words[:2] == ["python", "-c"]
        compile(words[2], "next", "exec")
        assert repr(str(Path(name) / "model")) in words[2]


@pytest.mark.parametrize("name", ["a b", "-dash", "\u00f6", "it's"])
def test_what_is_pasted_runs(cli: Cli, here: Path, name: str) -> None:
    code, out, _ = cli("train", "good.yaml", f"output_dir={name}")
    assert code == 0
    _, *words = shlex.split(out.splitlines()[-1].removeprefix("next"))
    assert cli(*words, "--max-new-tokens", "2")[0] == 0


def test_a_run_a_checkpoint_and_a_model_are_continued_alike(cli: Cli, here: Path) -> None:
    assert cli("train", "good.yaml")[0] == 0
    run = here / "runs/one"
    code, text, _ = cli("generate", str(run), "--prompt", "a")
    assert code == 0
    (run / "model/tokenizer.json").unlink()  # that of the run takes its place
    for place in (run / "model", run / "checkpoints/step-00000002"):
        assert cli("generate", str(place), "--prompt", "a")[:2] == (0, text)
    code, _, err = cli("generate", str(run), "--prompt", "a")
    assert (code, err.count("\n")) == (4, 1) and "damaged, tokenizer.json is missing" in err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("list", "runs")])
@pytest.mark.parametrize(
    "awkward",
    ["", "\0", "a folder", "empty", "binary", "utf16", "loop", "x" * 300, "~nobody-has-this/x"],
)
def test_what_is_no_file_ends_in_a_line(
    cli: Cli, here: Path, command: str, awkward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "a folder").mkdir()
    (here / "empty").touch()
    (here / "binary").write_bytes(b"\x89PNG\0\xff" * 9)
    (here / "utf16").write_text(GOOD, encoding="utf-16")
    (here / "loop").symlink_to(here / "loop")
    for arguments in ([awkward], ["good.yaml", "--plugin", awkward]):
        if command == "generate" and arguments[0] != awkward:
            arguments[0] = "runs/none"
        code, out, err = cli(command, *arguments)
        if (command, arguments) == ("runs", ["a folder"]):
            assert (code, out) == (0, "no runs below a folder\n")
            continue
        assert code == 2
        assert "internal failure" not in err and "Traceback" not in err
        assert "rror: " in err
        sys.modules.pop("nothing", None)
