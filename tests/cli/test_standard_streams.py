"""No output stream and no locale makes a command fail or lose its work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry.cli.standard_streams import _Sink
from tests.cli.conftest import Cli
from tests.cli.test_errors import COMMANDS
from tests.config.conftest import CORPUS, GOOD

ARGUMENTS = {
    "train": ["n\u00f6.yaml", "output_dir=runs/again"],
    "train-tokenizer": ["n\u00f6.yaml", "output_dir=runs/tokenizer"],
    "validate": ["n\u00f6.yaml"],
    "data": ["n\u00f6.yaml", "--examples"],
    "prepare": ["n\u00f6.yaml"],
    "doctor": ["missing.yaml"],
    "generate": ["runs/one", "--prompt", "\u00f6", "--max-new-tokens", "2"],
    "list": ["architectures"],
    "probe": ["runs/one", "missing.yaml"],
    "plan": ["n\u00f6.yaml"],
    "show": ["runs/one"],
    "runs": ["runs"],
    "plot": ["runs/one"],
    "schema": ["--format", "text"],
    "new": ["new.yaml", "--architecture", "lstm", "--force"],
}
ITS_PRODUCT_IS_PRINTED = {"validate", "generate", "list", "plan", "show", "runs", "schema"}
# Runs one command after the other, each in a process of its own that needs no import anew.
MANY = """
import json, os, sys
import model_foundry.experiment.train, model_foundry.cli.commands, model_foundry.cli.data_report
import model_foundry.cli.summary, model_foundry.doctor.checks
from model_foundry.cli import main
def begin(arguments, output):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if output == "closed":
        os.close(1)
        sys.stdout = sys.__stdout__ = None
    elif output == "a pipe that nobody reads":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
    elif output == "an error stream that is closed":
        os.close(2)
        sys.stderr = sys.__stderr__ = None
    elif output.startswith("/dev"):
        os.dup2(os.open(output, os.O_WRONLY), 1)
    sys.argv = ["foundry", *arguments]
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        os._exit(code)
print(json.dumps([begin(*each) for each in json.loads(sys.argv[1])]), file=sys.stderr)
"""


@pytest.fixture
def here(cli: Cli, here: Path) -> Path:
    """A directory with an experiment whose names are not ASCII, and a run of it; the current."""
    (here / "n\u00f6.yaml").write_text(GOOD.replace("corpus", "c\u00f6rpus"), encoding="utf-8")
    (here / "c\u00f6rpus.txt").write_text(CORPUS.replace("line", "l\u00efne"), encoding="utf-8")
    assert cli("train", "n\u00f6.yaml")[0] == 0
    return here


def run_all(*outputs: str, project: Path, **variables: str) -> tuple[dict[str, list[int]], str]:
    """Run every command with its output going to each place; exit codes, the standard error."""
    asked = [([name, *ARGUMENTS[name]], output) for output in outputs for name in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", MANY, json.dumps(asked)],
        env=os.environ | {"PYTHONPATH": str(project)} | variables,
        capture_output=True,
        timeout=240,
    )
    *lines, last = done.stderr.decode(errors="replace").splitlines()
    codes, each = json.loads(last), len(COMMANDS)
    by_output = {out: codes[n * each : (n + 1) * each] for n, out in enumerate(outputs)}
    return by_output, "\n".join(lines)


def expected(output: str) -> list[int]:
    full = dict.fromkeys(ITS_PRODUCT_IS_PRINTED, 8 if output == "/dev/full" else 0)
    return list((dict.fromkeys(COMMANDS, 0) | full | {"doctor": 2, "probe": 2}).values())


@pytest.mark.slow
def test_no_command_fails_for_its_output(here: Path, project: Path) -> None:
    outputs = ("/dev/full", "a pipe that nobody reads", "closed", "an error stream that is closed")
    codes, said = run_all(*outputs, project=project)
    assert codes == {output: expected(output) for output in outputs}, said
    assert "internal failure" not in said and "Traceback" not in said and "Exception" not in said
    told = said.count("standard output: cannot be written (No space left on device)")
    assert told == len(COMMANDS) - 2  # all but two, which had nothing to say


@pytest.mark.slow
def test_no_command_fails_for_its_locale(here: Path, project: Path) -> None:
    variables = {"LC_ALL": "C", "PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii:strict"}
    codes, said = run_all("as it is", project=project, **variables)
    assert codes == {"as it is": expected("as it is")}, said


@pytest.mark.slow
def test_a_pipe_that_is_full_for_now_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    child = os.fork()
    if not child:
        os.close(reader)
        _Sink(writer).write(b"x" * 1_000_000)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        assert len(file.read()) == 1_000_000
    os.waitpid(child, 0)


def test_a_write_is_cut_off_at_the_first_failure(tmp_path: Path) -> None:
    sink = _Sink(os.open(tmp_path, os.O_RDONLY))
    assert sink.write(b"four") == 4
    assert sink.failure is not None
    os.close(sink.descriptor)
