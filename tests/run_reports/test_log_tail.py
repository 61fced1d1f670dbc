"""The end of a log that grows, is replaced, or was torn."""

import json
from pathlib import Path

import pytest

from model_foundry.run_reports import log_tail
from model_foundry.run_reports.log_tail import LogTail, last_figures
from tests.written_runs import log_lines


def text(*lines: dict[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_lines_are_returned_once_and_a_torn_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = LogTail(path)
    assert tail.new_lines() == []
    path.write_text(text({"step": 1}) + '{"step"')
    assert [line["step"] for line in tail.new_lines()] == [1]
    assert tail.new_lines() == []
    with path.open("a") as file:
        file.write(': 2}\nnot JSON\n[]\n{"step": null}\n{"step": 3}\n')
    assert [line["step"] for line in tail.new_lines()] == [2, 3]
    assert not tail.restarted


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path, other = tmp_path / "metrics.jsonl", tmp_path / "other"
    path.write_text(text({"step": 1}, {"step": 2}))
    tail = LogTail(path)
    assert len(tail.new_lines()) == 2
    other.write_text(text({"step": 1}, {"step": 3}, {"step": 4}))
    other.replace(path)
    assert [line["step"] for line in tail.new_lines()] == [1, 3, 4] and tail.restarted
    assert tail.new_lines() == [] and not tail.restarted


def test_the_last_figures_are_those_of_the_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_figures(path) == {}
    lines = log_lines(200)
    path.write_text(text(*lines) + '{"step": 999, "train/lo')
    expected = {**lines[-2], **lines[-1]}
    for size in (64, 200, 1000, 2**16):
        monkeypatch.setattr(log_tail, "CHUNK", size)
        found = last_figures(path)
        assert found.items() >= expected.items() and found["step"] == 200


def test_an_evaluation_far_behind_is_found_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setattr(log_tail, "CHUNK", 100)
    lines = [{"step": n, "train/loss": 1.0} for n in range(2, 99)]
    path.write_text(text({"step": 1, "eval/loss": 7.0}, *lines))
    assert last_figures(path)["eval/loss"] == 7.0
    monkeypatch.setattr(log_tail, "MOST", 300)
    assert "eval/loss" not in last_figures(path)
    path.write_text("")
    assert last_figures(path) == {}
