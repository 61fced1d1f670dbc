"""The command line: exit codes, one line per fault, no torch for a broken file, nothing left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from typer.main import get_command

from model_foundry.cli import commands, train_command
from model_foundry.errors import (
    CheckpointError,
    Interrupted,
    LockedError,
    NonFiniteError,
    ResumeError,
    SaveError,
    WorkerError,
)
from model_foundry.experiment.run_directory import RunDirectory
from tests.cli.conftest import Cli
from tests.config.conftest import CORPUS, GOOD

COMMANDS = [
    *("train", "train-tokenizer", "validate", "data", "prepare", "doctor", "generate", "list"),
    *("probe", "show", "runs", "plot", "schema", "plan", "new"),
]
# Runs a command and says on the last line of the standard error what was imported for it.
WATCHED = """
import sys
from model_foundry.cli import main
try:
    main()
finally:
    print(*sorted({"torch", "transformers", "datasets"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.fixture
def here(here: Path) -> Path:
    """A directory with a good experiment and its corpus; the current one."""
    (here / "good.yaml").write_text(GOOD)
    (here / "corpus.txt").write_text(CORPUS)
    return here


def watched(*arguments: str, project: Path) -> tuple[int, list[str], list[str]]:
    """Run `foundry` alone; exit code, lines of its standard error, heavy modules it imported."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    *lines, heavy = done.stderr.splitlines()
    return done.returncode, lines, heavy.split()


def save_tokenizer(directory: Path, entries: int) -> None:
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<unk>": 1, **{f"w{n}": n for n in range(2, entries)}}
    model = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "w2", "eos_token": "w3"}
    PreTrainedTokenizerFast(tokenizer_object=model, **special).save_pretrained(directory)


def files(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


# --- configuration: exit 2 ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_broken_file_is_refused_before_torch_is_read(here: Path, project: Path) -> None:
    (here / "bad.yaml").write_text(GOOD.replace("layers: 1", "layers: 0"))
    code, lines, heavy = watched("train", "bad.yaml", "training.nonsense=3", project=project)
    assert (code, heavy) == (2, [])
    assert lines[0] == "error: bad.yaml:5: model.transformer.layers: must be > 0, got 0"
    assert lines[1].startswith("error: override training.nonsense: unknown key; valid keys here: ")
    assert len(lines) == 2


@pytest.mark.slow
def test_help_and_lists_come_without_torch(here: Path, project: Path) -> None:
    for arguments in (["--help"], ["train", "--help"], ["list", "architectures"]):
        assert watched(*arguments, project=project) == (0, [], [])


@pytest.mark.slow
def test_the_command_itself_imports_next_to_nothing(project: Path) -> None:
    """Ctrl-C in the meantime is answered in one line."""
    program = (
        "import sys; from model_foundry.cli import main; "
        "print(*{'typer', 'torch', 'pydantic', 'model_foundry.cli.commands'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.slow
def test_what_is_imported_is_seen(here: Path, project: Path) -> None:
    code, _, heavy = watched("validate", "good.yaml", project=project)
    assert code == 0
    assert "torch" in heavy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["trian", "good.yaml"],
            "error: no such command 'trian'; did you mean 'train'?",
        ),
        (["train"], "error: missing argument 'CONFIG'; see foundry train --help"),
        (["train", "good.yaml", "--quick"], "error: no such option: --quick"),
        (["train", "missing.yaml"], "error: missing.yaml: no such file"),
        (["list", "objective"], "got 'objective'; did you mean 'objectives'?"),
        (["generate", "nowhere"], "error: nowhere: no such directory"),
        (
            ["generate", "nowhere", "--number", "0"],
            "invalid value for '--number': must be greater than or equal to 1; see foundry",
        ),
        (
            ["schema", "--format", "md"],
            "'md' is not one of 'json', 'markdown', 'text'; see foundry",
        ),
        (["validate", "good.yaml", "--plugin", "no.py"], "error: plugin no.py: no such file"),
    ],
)
def test_a_bad_command_line_exits_with_two(cli: Cli, arguments: list[str], message: str) -> None:
    code, _, err = cli(*arguments)
    assert code == 2
    [line] = err.splitlines()
    assert line.startswith("error: ") and message in line
    assert "Traceback" not in err


# --- data: exit 3 ---------------------------------------------------------------------------------


WORDS = ["tokenizer.path=./words", "tokenizer.vocab_size=30"]


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        (None, [], "bad.txt: no such file, folder or match"),
        (
            None,
            [r'data.train="no\nsuch\e[2J"'],
            r"error: override data.train: no\nsuch\x1b[2J: no such file",
        ),
        (None, ["data.train=$HOME/corpus.txt"], "$HOME/corpus.txt: no such file"),
        (None, ["data.train=$${PWD}/corpus.txt"], "${PWD}/corpus.txt: no such file"),
        (b"", [], "bad.txt: holds no text"),
        (b" \n\t\n", [], "bad.txt: holds no text"),
        (b" \n", ["data.train=corpus.txt", "data.validation=bad.txt"], "bad.txt: holds no text"),
        (b"line\ncaf\xe9\n", [], "bad.txt: not UTF-8 at byte 8 (0xe9)"),
        (b"zero\0", [], "bad.txt: binary, with a zero byte at byte 4"),
        (b"one line", [], "the corpus is a single document, so none can be held out"),
        (b"a\nb\n", ["data.max_sequence_length=64"], "fewer than one block of 64"),
        (CORPUS.encode(), ["data.validation=none.txt"], "none.txt: no such file"),
        (CORPUS.encode(), ["tokenizer.path=nowhere"], "nowhere"),
        (CORPUS.encode(), WORDS, "words: the tokenizer has ids up to 39, but tokenizer.vocab_size"),
        (
            CORPUS.encode(),
            ["data.split_by=position", "data.validation_fraction=1e-17"],
            "data.validation_fraction (=1e-17) of 710 characters leaves an empty part",
        ),
    ],
)
def test_bad_data_exit_with_three_and_leave_nothing(
    cli: Cli, here: Path, content: bytes | None, overrides: list[str], message: str
) -> None:
    save_tokenizer(here / "words", 40)
    if content is not None:
        (here / "bad.txt").write_bytes(content)
    before = files(here)
    code, out, err = cli("train", "good.yaml", "data.train=bad.txt", *overrides)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, out) == (3, "")
    assert message in line and line.isprintable()
    assert "Traceback" not in err
    assert files(here) == before


@pytest.mark.parametrize(
    ("line", "overrides", "message"),
    [
        ("train: bad.txt", [], "late.yaml:{line}: data.train: bad.txt: no such file, folder or"),
        ("train: [corpus.txt, bad.txt]", [], "late.yaml:{line}: data.train: bad.txt: no such"),
        ("train: ${CORPUS}", [], "late.yaml:{line}: data.train: ${CORPUS}: no such file, folder"),
        ("train: ${CORPUS}/a.txt", [], "late.yaml:{line}: data.train: ${CORPUS}/a.txt: no such"),
        (
            "train: corpus.txt",
            ["data.validation=none.txt"],
            "override data.validation: none.txt: no such file",
        ),
        (
            "train: corpus.txt",
            ["tokenizer.vocab_size=5"],
            "override tokenizer.vocab_size: 5 is too small",
        ),
        ("train: dir", [], "error: dir/a.txt: not UTF-8 at byte 0"),  # no setting is at fault
    ],
)
def test_a_fault_that_the_data_show_names_the_place_of_its_setting(
    cli: Cli,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    overrides: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("CORPUS", "hunter2")
    data = "data: {train: corpus.txt, document: line, max_sequence_length: 8}"
    text = GOOD.replace(data, f"data:\n  {line}\n  document: line\n  max_sequence_length: 8")
    (here / "late.yaml").write_text(text)
    (here / "dir").mkdir()
    (here / "dir/a.txt").write_bytes(b"\xff")
    number = 1 + [each.strip() for each in text.splitlines()].index(line)
    code, _, err = cli("train", "late.yaml", *overrides)
    [fault] = [each for each in err.splitlines() if each.startswith("error: ")]
    assert code in (2, 3) and "hunter2" not in err
    assert message.replace("{line}", str(number)) in fault


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckpointError("what happened"), 4),
        (ResumeError("what happened"), 5),
        (LockedError("what happened"), 6),
        (NonFiniteError("what happened"), 7),
        (SaveError("what happened"), 8),
        (WorkerError("what happened"), 9),
        (Interrupted("what happened"), 75),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("what happened"), 9),
    ],
)
def test_each_end_has_its_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(train_command, "load", fail)
    ended, _, err = cli("train", "good.yaml")
    assert ended == code
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert str(error) in line
    ours = isinstance(error, ZeroDivisionError)
    assert ("internal failure: ZeroDivisionError" in line) is ours
    assert ("run again with --debug" in line) is ours


def test_a_table_is_a_line_for_each_row(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ResumeError("begun otherwise\n  a: 1 -> 2\n  b: \x1b[2J -> x")

    monkeypatch.setattr(train_command, "load", fail)
    code, _, err = cli("train", "good.yaml")
    assert code == 5
    assert err.splitlines() == [
        "error: begun otherwise",
        "error:   a: 1 -> 2",
        "error:   b: \\x1b[2J -> x",
    ]


def test_the_traceback_is_there_for_who_asks(cli: Cli, here: Path) -> None:
    code, _, err = cli("train", "missing.yaml", "--debug")
    assert code == 2
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("error: missing.yaml: no such file; check the path\n")
    (here / "plugin.py").write_text("1 / 0\n")
    code, _, err = cli("validate", "good.yaml", "--plugin", "plugin.py", "--debug")
    assert code == 2
    assert "ZeroDivisionError" in err and "Traceback" in err


def test_validate_tells_what_it_found_and_what_has_no_effect(cli: Cli, here: Path) -> None:
    before = files(here)
    code, out, err = cli("validate", "good.yaml", "training.mlm_probability=0.3")
    assert code == 0
    assert "good.yaml: no faults found" in out
    assert "train: 38 documents" in out and "validation: 2 documents" in out
    assert err.startswith(
        "warning: training.mlm_probability has no effect: objective 'causal_lm' does not"
    )
    assert files(here) == before


def test_every_command_is_known_here() -> None:
    assert set(get_command(commands.app).commands) == set(COMMANDS)


# --- resuming -------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bool]]:
    """The options that the command passes to training, which does not run."""
    import model_foundry.cli.summary

    options: list[dict[str, bool]] = []
    monkeypatch.setattr(
        sys.modules["model_foundry.experiment.train"],
        "train",
        lambda _, **said: options.append(said),
    )
    monkeypatch.setattr(model_foundry.cli.summary, "print_summary", lambda *_: None)
    return options


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--fresh"], {"fresh": True}),
        (["--extend"], {"extend": True}),
        (["--no-lock"], {"lock": False}),
    ],
)
def test_each_option_says_one_thing(
    cli: Cli, asked: list[dict[str, bool]], arguments: list[str], changed: dict[str, bool]
) -> None:
    assert cli("train", "good.yaml", *arguments)[0] == 0
    assert asked == [{"fresh": False, "extend": False, "lock": True, "profile": None} | changed]


@pytest.mark.slow
def test_a_short_run_says_that_it_was_not_profiled(cli: Cli, here: Path) -> None:
    code, out, said = cli("train", "good.yaml", "--profile")
    assert code == 0
    assert "the run has 2 left: none will be profiled" in said
    assert out.splitlines()[-1] == "no step was profiled: a profile takes 16 steps"
    code, out, _ = cli("train", "good.yaml", "--profile", "training.max_steps=16", "--fresh")
    assert code == 0
    assert "steps 12 to 16, under the profiler, " in out and "no step" not in out
    assert (here / "runs/one/diagnostics/profile-step-00000016.json.gz").is_file()


def test_a_run_goes_on_is_extended_and_begun_anew(cli: Cli, here: Path) -> None:
    assert cli("train", "good.yaml")[0] == 0
    code, out, err = cli("train", "good.yaml")
    assert code == 0
    assert "the run is complete, at step 2; there is nothing left to do" in err
    assert "validation loss" in out
    code, _, err = cli("train", "good.yaml", "training.train_metrics=[accuracy]")
    assert code == 0 and "nothing left to do" in err and "bit for bit" not in err
    code, _, err = cli("train", "good.yaml", "training.learning_rate=0.5")
    assert code == 5
    assert "error:   training.learning_rate: 0.001 -> 0.5" in err.splitlines()
    code, _, err = cli("train", "good.yaml", "training.max_steps=3")
    assert code == 5
    assert "--extend" in err and "error:   optimizer steps: 2 -> 3" in err.splitlines()
    code, _, err = cli("train", "good.yaml", "training.max_steps=3", "--extend")
    assert code == 0
    assert "extended from 2 to 3 steps: the learning rate after step 2 is" in err
    code, _, err = cli("train", "good.yaml", "--fresh")
    assert code == 0
    assert (here / "runs" / "one.old-1").is_dir()


def test_a_run_that_another_process_works_on_is_refused(cli: Cli, here: Path) -> None:
    with RunDirectory(here / "runs" / "one").held():
        code, _, err = cli("train", "good.yaml")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 6
    assert f"runs/one: is in use by process {os.getpid()} on " in line
    assert not (here / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["/dev/full", "a pipe that nobody reads"])
def test_a_finished_run_is_done_although_its_summary_cannot_be_printed(
    target: str, here: Path, project: Path
) -> None:
    if target == "/dev/full":
        output = os.open(target, os.O_WRONLY)
    else:
        reader, output = os.pipe()
        os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "model_foundry", "train", "good.yaml"],
        env=os.environ | {"PYTHONPATH": str(project)},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(output)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr and "Exception" not in done.stderr
    assert (here / "runs" / "one" / "model" / "config.json").is_file()
