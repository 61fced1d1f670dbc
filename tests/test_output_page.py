"""The commands of the page on output run one after the other, and print what it says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/output.md").read_text(encoding="utf-8")
FOUNDRY = [sys.executable, "-m", "model_foundry"]
FEW = ("data.train.language.sentences=2000", "data.preprocessing_num_workers=0")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)


def test_every_picture_is_there_and_small() -> None:
    pictures = re.findall(r"\]\((\w+\.png)\)", PAGE)
    assert len(pictures) == 4
    for name in pictures:
        assert 1_000 < (ROOT / "docs" / name).stat().st_size < 300_000


@pytest.mark.slow
def test_the_commands_run_as_they_are_described(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    outputs = []
    for line in "".join(blocks("sh")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "foundry"
        done = subprocess.run(
            [*FOUNDRY, *arguments, *(FEW if arguments[0] == "train" else ())],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "FORCE_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (line, done.stderr)
        assert "\x1b" not in done.stderr + done.stdout
        outputs.append(done.stdout)
    quiet, records, shown, listed, chosen, table, *plots = outputs
    assert quiet.startswith("size ") and "minimal pairs" not in quiet and "\n\n" not in quiet
    events = [json.loads(record)["event"] for record in records.splitlines()]
    half = ["log", "log", "evaluation"]
    assert events == [*half, "log", "log", "checkpoint", "evaluation", "result"]
    assert "completed" in shown and "step-00000020" in shown
    assert "runs/gru" in listed and "runs/gru" not in chosen and "runs/lstm" in chosen
    heads, first, *_ = table.splitlines()
    assert heads == "run,training.learning_rate,eval/bits_per_byte,seconds"
    assert first.startswith("runs/gru,0.004,")
    assert [line.split(":")[0] for line in plots] == ["curves.png", "curves.svg"]
    [program] = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and float(done.stdout) > 1
