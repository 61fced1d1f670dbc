"""Further sinks get the lines of the log, and may fail without harm to the run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model_foundry import Sink, train
from model_foundry.errors import LockedError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.failpoints import watching
from model_foundry.training.metrics_log import MetricsLog, read_metrics
from model_foundry.training.sinks import Sinks
from tests.children import Fault, in_child, launched, striking
from tests.experiments import tiny_experiment


class Kept(Sink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def write(self, step: int, values: Mapping[str, float | str]) -> None:
        self.told.append((step, dict(values)))

    def rewind(self, step: int) -> None:
        self.told.append(("rewind", step))

    def close(self) -> None:
        self.told.append(("close",))


class Failing(Kept):
    """Fails in one of its methods."""

    def __init__(self, method: str) -> None:
        super().__init__()
        setattr(self, method, self.fail)
        self.calls = 0

    def fail(self, *_: object) -> None:
        self.calls += 1
        raise OSError("no route to host\nat all")


class Plain(Sink):
    """Only writes."""

    def write(self, step: int, values: Mapping[str, float | str]) -> None:
        pass


def test_a_sink_gets_every_line_of_the_log(tmp_path: Path) -> None:
    first, second = Kept(), Kept()
    settings = ("training.eval_steps=2", "training.save_steps=4")
    result = train(tiny_experiment("lstm", tmp_path, *settings), sinks=[first, Plain(), second])
    lines = read_metrics(result.output_dir / "metrics.jsonl")
    written = [(line["step"], {k: v for k, v in line.items() if "/" in k}) for line in lines]
    assert len(written) == 6 + 3
    assert first.told == second.told == [("rewind", 0), *written, ("close",)]


def resume(directory: Path, output: Path) -> None:
    """Die after step 5, which is after the checkpoint and the evaluation of step 4."""
    settings = ("training.eval_steps=2", "training.save_steps=4")
    fault = None if output.exists() else Fault("step 5 made")
    sink = Kept()
    output.touch()
    with watching(striking(fault)):
        train(tiny_experiment("lstm", directory, *settings), sinks=[sink])
    output.write_text(repr([told if told[0] == "rewind" else told[0] for told in sink.told]))


@pytest.mark.slow
def test_a_resumed_run_tells_its_sinks_from_where(tmp_path: Path) -> None:
    output = tmp_path / "told.txt"
    in_child(resume, tmp_path, output, code=-9)
    in_child(resume, tmp_path, output, code=0)
    # the evaluation of step 4 comes again
    assert output.read_text() == repr([("rewind", 4), 4, 5, 6, 6, "close"])


@pytest.mark.parametrize("method", ["write", "rewind", "close"])
def test_a_sink_that_fails_is_named_once_and_left_out(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing, other = Failing(method), Kept()
    train(tiny_experiment("rnn", tmp_path, "training.max_steps=3"), sinks=[failing, other])
    status = RunDirectory(tmp_path / "run").status()
    assert status is not None and status.state == "completed"
    assert failing.calls == 1 and len(other.told) == 1 + 3 + 1 + 1
    assert failing.told.count(("close",)) == (method != "close")
    warned = [line for line in caplog.messages if line.startswith("sink ")]
    reason = "(OSError: no route to host at all); the run goes on without it"
    assert warned == [f"sink Failing: {method} failed {reason}"]


@pytest.mark.parametrize("given", [Kept, print, None])
def test_what_is_no_sink_is_refused_before_anything_is_written(given: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="sinks: must be objects of subclasses of Sink, got "):
        train(tiny_experiment("rnn", tmp_path), sinks=[given])
    assert not (tmp_path / "run").exists()


def test_the_values_of_a_sink_are_its_own(tmp_path: Path) -> None:
    class Greedy(Kept):
        def write(self, step: int, values: Any) -> None:
            values.clear()

    other, values = Kept(), {"train/loss": 1.0}
    MetricsLog(tmp_path / "metrics.jsonl", sinks=Sinks([Greedy(), other])).write(1, values)
    assert other.told == [(1, {"train/loss": 1.0})]


def test_sinks_are_closed_though_the_run_does_not_begin(tmp_path: Path) -> None:
    sink = Kept()
    config = tiny_experiment("rnn", tmp_path)
    with RunDirectory(config.output_dir).held(), pytest.raises(LockedError):
        train(config, sinks=[sink])
    assert sink.told == [("close",)]


def as_one_of_two(directory: Path) -> None:
    sink = Kept()
    train(tiny_experiment("rnn", directory, "training.max_steps=2"), sinks=[sink])
    print("told", [told[0] for told in sink.told], file=sys.stderr)


@pytest.mark.slow
def test_only_rank_0_writes_to_sinks(tmp_path: Path) -> None:
    first, second = launched(*[(as_one_of_two, tmp_path)] * 2)
    assert "told ['rewind', 1, 2, 2, 'close']" in first.stderr
    assert "told []" in second.stderr
