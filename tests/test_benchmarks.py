"""The benchmarks run, count correctly, and leave no process behind.

Toy sizes; no timing is asserted. The scripts that take longest run only with `-m torture`.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_check, rounds
from benchmarks.__main__ import PARTS
from benchmarks.asked import Asked
from benchmarks.quality import Trained, compared
from benchmarks.ratios import Ratio, interval
from benchmarks.results import Curve, Found, Store, Table, ratio_table
from benchmarks.rounds import (
    PER_START,
    PROJECT,
    WARM_UP,
    Contender,
    run_afresh,
    run_rounds,
    working_seconds,
)
from benchmarks.shapes import GPU_SHAPES, SHAPES
from benchmarks.soak import stretches
from benchmarks.texts import distinct_lines, made_up_words, write_lines, write_some
from benchmarks.train import BARE, BARS, OTHERS, OURS

WORKER = """
import json, sys, time
ticks, last = sys.argv[1], int(sys.argv[2])
for step in range(1, last + 1):
    time.sleep(0.01)
    with open(ticks, "a") as file:
        file.write(json.dumps({"step": step, "time": time.time()}) + chr(10))
print("no more work")
"""

STOPPED = """
import sys
from pathlib import Path
from benchmarks import rounds
from benchmarks.asked import run_alone
from tests.test_benchmarks import contender

def measure(asked):
    worker = contender("worker", Path(sys.argv.pop()))
    start = worker.start
    def start_and_tell():
        start()
        print(worker.pid, flush=True)
    worker.start = start_and_tell
    rounds.PER_START = 10**6
    rounds.run_rounds([worker], rounds=1)

run_alone(measure, None, [])
"""


def contender(name: str, directory: Path, *, last: int = 100_000) -> Contender:
    """Return a process that ticks every hundredth of a second."""
    ticks = directory / f"{name}.jsonl"
    command = [sys.executable, "-c", WORKER, str(ticks), str(last)]
    return Contender(name, command, ticks, directory / f"{name}.log")


def has_ended(process: Contender) -> bool:
    """Return whether nothing is left of it."""
    return not Path(f"/proc/{process.pid}").exists()


def ratio(*values: float, bar: float | None = None, at_most: bool = False) -> Ratio:
    return Ratio(group="all", ours="a", other="b", bar=bar, at_most=at_most, values=values)


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks as `make bench` does."""
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)


# --- what is counted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "millions"),
    [("gpt2 s", 5.2), ("gpt2 m", 89.7), ("bert", 87.0), ("lstm 256/8192", 18.9)],
)
def test_the_cost_of_a_token_follows_the_formula(name: str, millions: float) -> None:
    assert round(SHAPES[name].flops_per_token / 1e6, 1) == millions


def test_time_spent_frozen_is_no_working_time() -> None:
    pauses = [(0.0, 2.0), (4.0, 5.0), (9.5, 20.0)]
    assert working_seconds(1.0, 10.0, pauses) == 9 - 1 - 1 - 0.5


def test_the_interval_holds_the_median_and_shrinks_with_agreement() -> None:
    values = [1.0, 1.1, 1.2, 1.3, 1.4]
    low, high = interval(values)
    assert 1.0 <= low < 1.2 < high <= 1.4
    assert interval([1.5] * 20) == (1.5, 1.5)


def test_what_the_same_processes_gave_counts_as_one_draw() -> None:
    """Values in pairs count like half of them."""
    once = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    pairs = [value for value in once for _ in range(2)]
    assert interval(pairs, per_start=2) == interval(once)
    low, high = interval(pairs)
    assert interval(once)[0] < low < high < interval(once)[1]


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (ratio(2.1, 2.2, 2.3, bar=2.0), "yes"),
        (ratio(1.7, 1.8, 1.9, bar=2.0), "no"),
        (ratio(1.9, 2.0, 2.1, bar=2.0), "within noise"),
        (ratio(0.9, bar=1.0, at_most=True), "yes"),
        (ratio(1.1, bar=1.0, at_most=True), "no"),
        (ratio(1.1), ""),
    ],
)
def test_a_bar_is_reached_when_the_whole_interval_is_beyond_it(
    measured: Ratio, verdict: str
) -> None:
    assert measured.verdict == verdict


def test_a_stretch_costs_the_time_between_its_ticks() -> None:
    ticks = [{"step": step, "time": step / 10} for step in (5, 10, 20, 30)]
    ends, costs = stretches(ticks, tokens_per_step=100)
    assert ends == [20, 30]  # the first ten steps warm up
    assert costs == pytest.approx([1000.0, 1000.0])


def test_paths_that_differ_by_more_than_seeds_do_are_called_out() -> None:
    plain = [Trained(1.90, 1.0), Trained(1.91, 1.0), Trained(1.92, 1.0)]
    worse = [Trained(run.loss + 0.1, 1.0) for run in plain]
    assert "within" in compared(plain, plain)
    assert "BEYOND" in compared(worse, plain)


# --- what is asked for ----------------------------------------------------------------------------


def test_every_bar_names_contenders_that_there_are() -> None:
    for bar in BARS:
        assert bar.shape in SHAPES
        assert bar.ours in OURS
        assert bar.other in OURS.keys() | OTHERS.keys()


def test_our_loop_is_held_against_the_bare_step_for_every_shape() -> None:
    assert {bar.shape for bar in BARS if bar.other == BARE and bar.least == 0.97} == SHAPES.keys()


def test_made_up_words_fill_the_vocabulary() -> None:
    lines = list(made_up_words(100, vocabulary=50))
    assert len({word for line in lines for word in line.split()}) == 50


def test_a_corpus_has_its_size(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.txt", ["one line\n"], megabytes=0.2)
    assert (tmp_path / "corpus.txt").stat().st_size >= 200_000


# --- processes in turn ----------------------------------------------------------------------------


def lives_of(contender: Contender, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that is going to hold the process of each of its starts."""
    lives: list[int] = []
    start = contender.start

    def start_and_note() -> None:
        start()
        lives.append(contender.pid)

    monkeypatch.setattr(contender, "start", start_and_note)
    return lives


@pytest.mark.slow
def test_contenders_work_in_turn_and_are_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = contender("near", tmp_path), contender("far", tmp_path)
    lives = lives_of(near, monkeypatch)
    measured = run_rounds([near, far], rounds=1, near=frozenset({"near"}), near_rounds=3)
    assert measured.faults == {}
    assert list(measured.speeds["near"]) == list(range(3 * PER_START))
    assert list(measured.speeds["far"]) == list(range(PER_START))
    assert len(measured.ratios("near", "far")) == PER_START
    assert len(set(lives)) == len(near.peaks) == 3
    assert [tick["step"] for tick in near.ticks()] == list(range(1, len(near.ticks()) + 1))
    assert all(has_ended(each) and each.peak_bytes > 2**20 for each in (near, far))


@pytest.mark.slow
def test_a_frozen_contender_makes_no_step(tmp_path: Path) -> None:
    frozen, working = contender("frozen", tmp_path), contender("working", tmp_path)
    try:
        frozen.start()
        before = len(frozen.ticks())
        working.start(ticks=20)
        assert len(frozen.ticks()) <= before + 1  # the signal may have met it while it wrote
        frozen.advance()
        assert len(frozen.ticks()) > before
    finally:
        frozen.end()
        working.end()


@pytest.mark.slow
def test_a_contender_that_hangs_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "PATIENCE", 0.5)
    hanging = contender("hanging", tmp_path)
    hanging.command = [sys.executable, "-c", "import time; time.sleep(600)"]
    measured = run_rounds([hanging], rounds=1)
    assert measured.faults == {"hanging": "hanging hangs: no output"}
    assert has_ended(hanging)


@pytest.mark.slow
def test_a_contender_that_dies_is_named_and_the_others_continue(tmp_path: Path) -> None:
    dying, living = contender("dying", tmp_path, last=WARM_UP), contender("living", tmp_path)
    measured = run_rounds([dying, living], rounds=2)
    assert measured.faults == {"dying": "dying has ended: no more work"}
    assert list(measured.speeds["living"]) == list(range(2 * PER_START))


@pytest.mark.slow
def test_each_round_begins_afresh_where_nothing_can_be_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = contender("alone", tmp_path)
    lives = lives_of(alone, monkeypatch)
    measured = run_afresh([alone], rounds=2, ticks=2)
    assert list(measured.speeds["alone"]) == [0, 1]
    assert len(set(lives)) == 2
    assert [tick["step"] for tick in alone.ticks()] == list(range(1, len(alone.ticks()) + 1))
    assert has_ended(alone)


@pytest.mark.slow
def test_the_process_that_measures_stays_small() -> None:
    """Its memory would count as the peak of the processes that it starts."""
    modules = ", ".join(f"benchmarks.{part}" for part in PARTS)
    code = f"import sys, benchmarks.__main__, {modules}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert not {"torch", "transformers", "matplotlib"} & set(done.stdout.split())


# --- what is written down -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_part_that_is_measured_again_replaces_only_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for part, cell in (("train", "1.0"), ("data", "2.0"), ("train", "3.0")):
        found = Found([Table("Speed", ("what", "figure"), [("a", cell)])])
        store.put(part, found, options="", seconds=1.0)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert text.index("## train") < text.index("| a | 3.0 |") < text.index("## data")
    assert "1.0 |" not in text and "| a | 2.0 |" in text


def test_a_missing_ratio_names_its_reason(tmp_path: Path) -> None:
    missing = Ratio(group="m", ours="a", other="b", bar=1.5, not_run="no bf16")
    assert "| m | a | b | >= 1.5 | not run | no bf16 |" in str(ratio_table("Ratios", [missing]))


def test_results_survive_being_stored(tmp_path: Path) -> None:
    found = Found([], [ratio(1.0, 2.0, bar=1.5)], [Curve("Cost", "s", [1.0], [2.0])])
    again = Found.from_json(json.loads(json.dumps(found.as_json())))
    assert again.curves == found.curves
    assert again.ratios[0].median == 1.5


# --- whole scripts --------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_is_compared_and_drawn(tmp_path: Path) -> None:
    options = ["--only", "train", "--quick", "--rounds", "1", "--shapes", "lstm 256/65"]
    done = bench(*options, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["train"]
    ratios = Found.from_json(record["found"]).ratios
    assert [ratio.not_run for ratio in ratios] == [None, None]
    assert all(len(ratio.values) == PER_START for ratio in ratios)
    assert (tmp_path / "results.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_run_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        run.terminate()
        assert run.wait() == 143
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "script", sorted((PROJECT / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_every_script_finds_what_it_imports(script: Path) -> None:
    importlib.import_module(f"benchmarks.{script.stem}")


@pytest.mark.torture
@pytest.mark.parametrize("part", [part for part in PARTS if part != "train"])
def test_every_other_script_runs(part: str, tmp_path: Path) -> None:
    options = ["--quick", "--seeds", "1"] + (["--shapes", "gpt2 s"] if part == "generate" else [])
    done = bench("--only", part, *options, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"## {part}" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_text_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = bench("--only", "gpu", f"data.train={tmp_path / 'none.txt'}")
    assert done.returncode == 2
    assert "no such file" in done.stderr


# --- on one GPU -----------------------------------------------------------------------------------

PASSED = [sys.executable, "-c", "print('=== 3 passed, 1 skipped in 2.0s ===')"]
FAILED = [sys.executable, "-c", "import sys; print('= 1 failed, 2 passed in 2.0s ='); sys.exit(1)"]
HANGING = [sys.executable, "-c", "import time; time.sleep(600)"]
NOTHING_RAN = [sys.executable, "-c", "print('== 3 skipped in 2.0s ==')"]


def test_the_gpu_tests_are_found_by_their_marker() -> None:
    assert "tests/test_gpu.py" in gpu_check.gpu_test_files()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (PASSED, None),
        (FAILED, "1 failed, 2 passed"),
        (NOTHING_RAN, "3 skipped"),
        (HANGING, "took more than 2 s"),
    ],
    ids=["passed", "failed", "nothing ran", "hanging"],
)
def test_a_report_of_the_gpu_tests_is_a_fault_unless_they_passed(
    command: list[str], fault: str | None, tmp_path: Path
) -> None:
    found = gpu_check.run_tests(tmp_path, seconds=2, command=command)
    assert found is None if fault is None else fault in str(found)
    assert (tmp_path / "tests.txt").exists()


@pytest.mark.slow
def test_a_gpu_check_leaves_results_that_can_be_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With workers in place of the contenders; the control flow is that of a machine with a GPU."""
    monkeypatch.setattr(gpu, "cuda_is_there", lambda: True)
    monkeypatch.setattr(gpu, "make_workload", lambda directory, shape, text: shape)
    monkeypatch.setattr(
        gpu, "contenders_of", lambda *_: [contender(name, tmp_path) for name in ("ours", "product")]
        + [contender("HF Trainer", tmp_path, last=1)]
    )  # fmt: skip
    output, beside = tmp_path / "gpu-results", tmp_path / "benchmarks"
    faults = gpu_check.check(
        Asked(quick=True, shapes=("gpt2 124M",)), output, minutes=5, command=PASSED
    )
    assert faults == ["gpt2 124M, ours against HF Trainer: HF Trainer has ended: no more work"]
    done = bench("--take-in", str(output), "--output", str(beside))
    assert done.returncode == 0, done.stderr
    assert Store(beside).read() == Store(output).read()
    assert "pytest | all passed" in (beside / "RESULTS.md").read_text()
    assert bench("--take-in", str(tmp_path)).returncode == 2


def test_a_short_run_on_a_gpu_begins_with_the_foremost_contenders(tmp_path: Path) -> None:
    gpt2, *others = GPU_SHAPES.values()
    ready = gpu.contenders_of(gpt2, tmp_path)
    names = [each.name for each in ready]
    assert names[:4] == ["ours", "product", "HF Trainer", "native"]
    assert names[4:] == ["bare step", "ours, not compiled", "native, not compiled",
                         "transformers loop"]  # fmt: skip
    assert len({tuple(each.command) for each in ready}) == len(ready)
    for shape in (each for each in others if not each.heads):
        found = [each.name for each in gpu.contenders_of(shape, tmp_path)]
        assert found == ["ours", "product", "bare step", "ours, not compiled", "torch.nn loop"]


def test_nothing_starts_after_the_deadline(tmp_path: Path) -> None:
    measured = run_afresh([contender("a", tmp_path)], rounds=2, ticks=1, deadline=0.0)
    assert measured.faults == {"a": "there was no time left"}


def test_a_corpus_of_distinct_lines_is_written_in_consecutive_parts(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"one\n\ntwo\none\n \nc\xc3\xa9\nthree")
    lines = distinct_lines(text)
    parts = [write_some(tmp_path / "part.txt", lines, megabytes=7e-6) for _ in range(3)]
    assert parts == pytest.approx([8e-6, 10e-6, 0])
    source = distinct_lines(None)
    assert write_some(tmp_path / "code.txt", source, megabytes=0.1) >= 0.1
    found = (tmp_path / "code.txt").read_text(encoding="utf-8").split("\n")
    assert len(found) == len(set(found)) > 1000
