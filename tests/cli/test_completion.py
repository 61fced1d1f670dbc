"""Completion, asked for as shells do: variables of the environment, and lines of output."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model_foundry.config.built_in import OPTIMIZERS, SCHEDULES
from tests.cli.conftest import Cli
from tests.config.conftest import GOOD

Complete = Callable[..., list[str]]
PLUGIN = "raise SystemExit('a plugin was run')"
# Answers as `foundry` does, and reports what was imported for it.
WATCHED = """
import sys
sys.argv = ["foundry"]
from model_foundry.cli import main
try:
    main()
finally:
    heavy = {"torch", "transformers", "datasets", "numpy"} & set(sys.modules)
    print(*sorted(heavy), file=sys.stderr)
"""


@pytest.fixture
def experiments(here: Path) -> Path:
    """A directory with experiments, a group, a run and its models."""
    (here / "configs/model").mkdir(parents=True)
    for name in ("one.yaml", "two.yml", "notes.txt", "model/lstm_own.yaml"):
        (here / "configs" / name).write_text(GOOD)
    (here / "corpus.txt").write_text("text\n")
    for name in ("runs/one", "runs/two", "runs/.hidden", "runs/nothing"):
        (here / name).mkdir(parents=True)
    for name in ("runs/one", "runs/two"):
        (here / name / "config.yaml").write_text(GOOD)
    (here / "runs/one/model").mkdir()
    (here / "runs/one/model/config.json").write_text("{}")
    return here


@pytest.fixture
def bash(experiments: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Return what bash gets for words, of which the last one is not complete yet."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_FOUNDRY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["foundry", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        code, out, err = cli()
        assert (code, err) == (0, "")
        return out.split()

    return complete


def of_other_shells(shell: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, line: str) -> str:
    monkeypatch.setenv("_FOUNDRY_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    code, out, err = cli()
    assert (code, err) == (0, "")
    return out


ON_ONE = ("train", "configs/one.yaml")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["gen"], ["generate"]),
        (["train", "con"], ["configs/model/", "configs/one.yaml", "configs/two.yml"]),
        (["train", "configs/model"], ["configs/model/lstm_own.yaml"]),
        (["train", "configs/t"], ["configs/two.yml"]),
        (["train", "nowhere/"], []),
        (["doctor", "configs/o"], ["configs/one.yaml"]),
        ([*ON_ONE, "training.max_st"], ["training.max_steps=", "training.max_steps=INTEGER"]),
        ([*ON_ONE, "training.logging"], ["training.logging_steps=", "training.logging_steps=10"]),
        ([*ON_ONE, "seed"], ["seed.", "seed="]),
        ([*ON_ONE, "see"], ["seed.", "seed="]),
        ([*ON_ONE, "training.speed.fp"], [
            f"training.speed.fp32_products={name}" for name in ("auto", "default", "onednn", "tf32")
        ]),
        ([*ON_ONE, "training.sgd"], ["training.sgd.momentum=", "training.sgd.nesterov="]),
        ([*ON_ONE, "nonsense"], []),
        # bash has divided the words at their `=`
        ([*ON_ONE, "training.optimizer", "="], sorted(OPTIMIZERS)),
        ([*ON_ONE, "training.optimizer", "=", "adam"], ["adam", "adamax", "adamw"]),
        ([*ON_ONE, "training.carry_state", "="], ["true", "false"]),
        ([*ON_ONE, "training.compile", "="], ["true", "false", "auto"]),
        ([*ON_ONE, "training.learning_rate", "="], ["0.001"]),
        ([*ON_ONE, "a", "=", "1", "training.mlm_masking", "="], ["token", "word", "span"]),
        ([*ON_ONE, "model", "=", "lstm_o"], ["lstm_own"]),
        ([*ON_ONE, "data.train", "=", "cor"], []),  # bash completes paths itself
        (["list", "met"], ["metrics"]),
        (["generate", "runs/o"], ["runs/one"]),
        (["generate", "runs/one/"], ["runs/one/model"]),
        (["probe", "runs/t"], ["runs/two"]),
        (["probe", "runs/two", "configs/o"], ["configs/one.yaml"]),
        (["schema", "--format", "m"], ["markdown"]),
    ],
)  # fmt: skip
def test_words_of_bash(words: list[str], found: list[str], bash: Complete) -> None:
    assert bash(*words) == found


def test_architectures_and_kinds_are_those_registered(bash: Complete) -> None:
    assert {"bert", "lstm", "vit"} <= set(bash(*ON_ONE, "model.architecture", "="))
    assert {"architectures", "metrics", "sources"} <= set(bash("list", ""))


def test_shipped_groups_are_offered_beside_own_ones(bash: Complete) -> None:
    assert {"lstm_own", "lstm_small"} <= set(bash(*ON_ONE, "model", "=", ""))
    assert "trainer=" in bash(*ON_ONE, "tr")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("training.optimizer=adama", ["training.optimizer=adamax"]),
        ("data.train=cor", ["data.train=corpus.txt"]),
        ("data.train=configs/o", ["data.train=configs/one.yaml"]),
        ("model=lstm_o", ["model=lstm_own"]),
    ],
)
@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.usefixtures("experiments")
def test_words_of_other_shells(
    shell: str, word: str, found: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = of_other_shells(shell, cli, monkeypatch, f"foundry train configs/one.yaml {word}")
    expected = "\n".join(found)
    if shell == "zsh":
        quoted = "\n".join(f'"{each}"' for each in found)
        expected = f"_arguments '*: :(({quoted}))'"
    assert out == f"{expected}\n"


@pytest.mark.usefixtures("experiments")
def test_meanings_stand_beside_the_settings_in_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = of_other_shells(
        "fish", cli, monkeypatch, "foundry train configs/one.yaml training.lr"
    ).splitlines()
    assert [line.partition("\t")[0] for line in lines] == [
        f"training.lr_scheduler_type={name}" for name in sorted(SCHEDULES)
    ]
    assert all(line.endswith(" ...") for line in lines)
    lines = of_other_shells(
        "fish", cli, monkeypatch, "foundry train configs/one.yaml training."
    ).splitlines()
    assert all(line.startswith("training.") for line in lines)


def test_no_plugin_is_run(bash: Complete, experiments: Path) -> None:
    (experiments / "plugin.py").write_text(PLUGIN)
    found = bash("train", "--plugin", "plugin.py", "configs/one.yaml", "training.optimizer", "=")
    assert found == sorted(OPTIMIZERS)


@pytest.mark.slow
def test_it_imports_nothing_heavy_and_is_soon_there(experiments: Path, project: Path) -> None:
    words = "\n".join(["foundry", *ON_ONE, "training."])
    asked = {"COMP_WORDS": words, "COMP_CWORD": "3", "_FOUNDRY_COMPLETE": "complete_bash"}
    begin = time.process_time(), os.times().children_user
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=os.environ | asked | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.split() == []
    assert "training.max_steps=" in done.stdout.split()
    assert os.times().children_user - begin[1] < 2  # half a second of the processor, as measured


@pytest.mark.slow
def test_the_script_for_bash_works_in_bash(experiments: Path, project: Path) -> None:
    program = experiments / "foundry"
    program.write_text(f"#!{sys.executable}\nfrom model_foundry.cli import main\nmain()\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    script = """
        source <(foundry --show-completion)
        COMP_WORDS=(foundry train configs/one.yaml training.optimizer = adama) COMP_CWORD=5
        _foundry_completion foundry
        echo "${COMPREPLY[@]}"
        complete -p foundry
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=os.environ
        | {"PATH": f"{experiments}:{os.environ['PATH']}", "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "adamax",
        "complete -o default -F _foundry_completion foundry",
    ]
