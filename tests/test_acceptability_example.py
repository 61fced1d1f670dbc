"""The example that makes rows for `configs/acceptability.yaml` from minimal pairs."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "acceptability" / "rows.py"
PARADIGMS = [f"paradigm_{letter}" for letter in "abcdefgh"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["rows.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def write_pairs(directory: Path) -> None:
    directory.mkdir()
    for name in PARADIGMS:
        pairs = [
            {"sentence_good": f"{name} good {n}", "sentence_bad": f"{name} bad {n}", "pairID": n}
            for n in range(20)
        ]
        (directory / f"{name}.jsonl").write_text("\n".join(map(json.dumps, pairs)))


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_paradigm_is_held_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(tmp_path / "blimp")
    seen: list[str] = []
    for fold in range(4):
        out = tmp_path / f"fold{fold}"
        run(monkeypatch, tmp_path / "blimp", out, "--fold", fold)
        parts = {path.stem: read(path) for path in out.iterdir()}
        names = {part: {row["paradigm"] for row in rows} for part, rows in parts.items()}
        assert names["train"] == names["same_paradigms"] == {*PARADIGMS} - names["held_out"]
        assert {part: len(rows) for part, rows in parts.items()} == {
            "train": 6 * 36,
            "same_paradigms": 6 * 4,
            "held_out": 2 * 40,
        }
        texts = {part: {row["sentence"] for row in rows} for part, rows in parts.items()}
        assert not texts["train"] & texts["same_paradigms"]
        for row in (row for rows in parts.values() for row in rows):
            assert (row["label"] == "acceptable") == (" good " in row["sentence"])
        seen += names["held_out"]
    assert sorted(seen) == PARADIGMS


@pytest.mark.parametrize(
    ("line", "law"),
    [('{"a": 1}', "line 1: has no sentence_good and sentence_bad"), ("a", "is not JSON Lines")],
)
def test_other_files_are_refused(
    line: str, law: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"error: .*: holds 0 files \.jsonl, fewer than 4"):
        run(monkeypatch, tmp_path, tmp_path / "out")
    for name in PARADIGMS:
        (tmp_path / f"{name}.jsonl").write_text(line)
    with pytest.raises(SystemExit, match=rf"error: .*paradigm_a\.jsonl: {law}"):
        run(monkeypatch, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
