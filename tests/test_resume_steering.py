"""The law of resuming for what steers a run: early stopping, best model, average, share of masks.

See `test_resume`; the validation text here is unlike the training text, so that the first
evaluation stays the best and a patience of two ends the run at step 9.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import model_foundry.experiment.checkpointer as checkpointer
from model_foundry.architectures import BaseLanguageModel
from model_foundry.doctor.same_run import differences
from model_foundry.errors import CheckpointError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, STOPPED, Fault, in_child, train_in_child, train_with
from tests.experiments import snapshot, three_passes

pytestmark = pytest.mark.slow

TERM, KILL = signal.SIGTERM, signal.SIGKILL
EVERY_THIRD = "training.save_steps=3"
STOPS = ("training.early_stopping_patience=2",)
AVERAGED = ("training.ema_decay=0.8", "training.metric_for_best_model=ema/loss")
BEST = ("training.load_best_model_at_end=true", EVERY_THIRD, "training.save_total_limit=2")
MASKS = ("training.mlm_probability=0.4", "training.mlm_probability_end=0.1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("steering")


@pytest.fixture(scope="module")
def settings(place: Path) -> tuple[str, ...]:
    given = three_passes(place)
    (place / "unlike.txt").write_text("gwbp " * 40)
    (place / "tested.txt").write_text("the big dog sees a cat\n" * 4)
    texts = (f"data.validation={place / 'unlike.txt'}", f"data.test={place / 'tested.txt'}")
    return (*given, *texts, "training.learning_rate=0.03")


@pytest.fixture(scope="module")
def whole(place: Path, settings: tuple[str, ...]) -> Callable[..., Path]:
    """Return an uninterrupted run; each is trained once."""
    made: dict[tuple[str, ...], Path] = {}

    def run(kind: str, *overrides: str) -> Path:
        key = (kind, *overrides)
        if key not in made:
            directory = place / f"whole-{len(made)}"
            train_in_child(kind, directory, *settings, *overrides, code=0)
            made[key] = directory / "run"
        return made[key]

    return run


def status_of(run: Path) -> Any:
    return json.loads((run / "status.json").read_text())


def lines_with(run: Path, prefix: str) -> list[dict[str, Any]]:
    lines = read_metrics(run / "metrics.jsonl")
    return [line for line in lines if any(name.startswith(prefix) for name in line)]


FAULTS = [
    [("step 6 made", KILL), ("step 8 made", TERM)],
    [("step 6 evaluated", KILL)],
    # after the last evaluation, before the decision and the last checkpoint
    [("step 9 evaluated", KILL), ("step 9 evaluated", TERM)],
    # while the last checkpoint is written, and once it is there
    [("step-00000009: optimizer written", KILL), ("step 9 made", KILL)],
    [("model: renamed", KILL)],
]


@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: faults[0][0])
@pytest.mark.parametrize("saved", [(), (EVERY_THIRD,)], ids=["saves miss it", "saves meet it"])
def test_a_run_stops_early_at_the_step_of_the_uninterrupted_one(
    faults: list[tuple[str, signal.Signals]],
    saved: tuple[str, ...],
    settings: tuple[str, ...],
    whole: Callable[..., Path],
    tmp_path: Path,
) -> None:
    overrides = (*STOPS, *AVERAGED, *saved)
    expected = whole("lstm", *overrides)
    for point, number in faults:
        fault = Fault(point, signal=number)
        ended = train_in_child("lstm", tmp_path, *settings, *overrides, fault=fault)
        assert ended.code in ({KILLED} if number == KILL else {STOPPED, 0}), ended.stderr
    train_in_child("lstm", tmp_path, *settings, *overrides, code=0)
    run = tmp_path / "run"
    assert differences(expected, run) == []
    status = status_of(run)
    assert (status["state"], status["step"], status["last_good_step"]) == ("completed", 9, 9)
    assert status["reason"] == status_of(expected)["reason"]
    assert status["reason"].startswith("early stopping at step 9 of 18, after 2 evaluations ")
    assert read_state(step_directories(run / "checkpoints")[-1]).counters.step == 9

    before = snapshot(run)  # it is complete, and does not go on
    ended = train_in_child("lstm", tmp_path, *settings, *overrides, code=0)
    assert "the run is complete, at step 9" in ended.stderr
    assert snapshot(run) == before


def test_a_run_that_stopped_goes_on_with_more_patience(
    settings: tuple[str, ...], whole: Callable[..., Path], tmp_path: Path
) -> None:
    train_in_child("lstm", tmp_path, *settings, *STOPS, code=0)
    more = "training.early_stopping_patience=3"
    train_in_child("lstm", tmp_path, *settings, more, code=0)
    status = status_of(tmp_path / "run")
    assert status["reason"].startswith("early stopping at step 15 of 18, after 3 evaluations ")
    assert lines_with(whole("lstm", more), "train/") == [
        {**line, "attempt": 1, "time": other["time"], **timed(other)}
        for line, other in zip(
            lines_with(tmp_path / "run", "train/"),
            lines_with(whole("lstm", more), "train/"),
            strict=True,
        )
    ]


def timed(line: dict[str, Any]) -> dict[str, Any]:
    clocked = ("_per_second", "memory_mib")
    return {name: value for name, value in line.items() if name.endswith(clocked)}


def test_the_least_number_of_epochs_holds_early_stopping_back(
    settings: tuple[str, ...], whole: Callable[..., Path], tmp_path: Path
) -> None:
    """Two passes are eleven steps, so that the next evaluation is at step 12."""
    overrides = (*STOPS, *AVERAGED, "training.min_epochs=2")
    expected = whole("lstm", *overrides)
    assert status_of(expected)["step"] == 12
    fault = Fault("step 9 evaluated", signal=KILL)
    train_in_child("lstm", tmp_path, *settings, *overrides, fault=fault, code=KILLED)
    train_in_child("lstm", tmp_path, *settings, *overrides, code=0)
    assert differences(expected, tmp_path / "run") == []


SERIES = [("step 3 made", KILL), ("step 7 made", TERM), ("step 9 made", KILL)]
AT_THE_END = [("step 18 evaluated", KILL), ("model: renamed", KILL)]


@pytest.mark.parametrize(
    ("kind", "overrides", "faults"),
    [
        ("lstm", ("training.ema_decay=0.8",), SERIES),
        ("lstm", (*BEST, *AVERAGED), [*SERIES, *AT_THE_END]),
        ("gpt2", BEST, [("step 6 evaluated", TERM), *AT_THE_END]),
        ("bert", MASKS, SERIES),
        ("bert", (*MASKS, "training.dataloader_num_workers=2"), SERIES),
        ("bert", (*MASKS, "training.mlm_masking=span"), SERIES),
        (
            "gpt2",
            ("training.losses={label_smoothing: 1.0, confidence_penalty: 0.1}",),
            [("step 7 made", TERM)],
        ),
        ("gru", ("training.milestones.first_epoch=3",), SERIES),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    kind: str,
    overrides: tuple[str, ...],
    faults: list[tuple[str, signal.Signals]],
    settings: tuple[str, ...],
    whole: Callable[..., Path],
    tmp_path: Path,
) -> None:
    for point, number in faults:
        code = KILLED if number == KILL else STOPPED
        fault = Fault(point, signal=number)
        train_in_child(kind, tmp_path, *settings, *overrides, fault=fault, code=code)
    train_in_child(kind, tmp_path, *settings, *overrides, code=0)
    run = tmp_path / "run"
    assert differences(whole(kind, *overrides), run) == []
    assert [line["step"] for line in lines_with(run, "test/")] == [18]
    before = snapshot(run)
    train_in_child(kind, tmp_path, *settings, *overrides, code=0)
    assert snapshot(run) == before


def test_the_settings_make_a_difference(whole: Callable[..., Path]) -> None:
    assert differences(whole("bert", *MASKS), whole("bert"))
    steps = [
        read_state(path).counters.step
        for path in step_directories(
            whole("gru", "training.milestones.first_epoch=3") / "checkpoints"
        )
        if read_state(path).milestone
    ]
    assert steps == [2, 4, 6]  # of an epoch of five and a half steps


def test_the_final_model_is_that_of_the_best_evaluation(
    whole: Callable[..., Path],
) -> None:
    run = whole("gpt2", *BEST)
    status = RunDirectory(run).status()
    assert status is not None and status.best is not None
    best_step = status.best.step
    assert status.step == 18 and best_step < 18
    checkpoints = {path.name for path in step_directories(run / "checkpoints")}
    assert checkpoints == {f"step-{best_step:08d}", "step-00000018"}
    final = BaseLanguageModel.from_pretrained(run / "model").state_dict()
    best, last = (
        BaseLanguageModel.from_pretrained(run / "checkpoints" / name).state_dict()
        for name in sorted(checkpoints)
    )
    assert all(torch.equal(final[name], best[name]) for name in final)
    assert any(not torch.equal(final[name], last[name]) for name in final)
    measured = json.loads((run / "evaluation" / "loss-step-00000018.json").read_text())
    evaluations = {line["step"]: line["eval/loss"] for line in lines_with(run, "eval/")}
    assert measured["model_step"] == best_step
    assert measured["eval/loss"] == evaluations[best_step] == status.best.value
    assert measured["eval/loss"] != evaluations[18]
    assert lines_with(run, "test/")[0]["test/loss"] == measured["test/loss"]
    for line in lines_with(run, "eval/"):
        so_far = min((value, step) for step, value in evaluations.items() if step <= line["step"])
        assert (line["best/loss"], line["best/step"]) == so_far


def test_a_completed_run_gives_its_last_model_when_asked_to(
    settings: tuple[str, ...], whole: Callable[..., Path], tmp_path: Path
) -> None:
    train_in_child("gpt2", tmp_path, *settings, *BEST, code=0)
    last = "training.load_best_model_at_end=false"
    train_in_child("gpt2", tmp_path, *settings, *BEST, last, code=0)
    run = tmp_path / "run"
    assert differences(whole("gpt2", *BEST, last), run) == []


def test_a_best_checkpoint_that_is_damaged_is_one_line(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    fault = Fault("step 18 made", signal=KILL)
    train_in_child("gpt2", tmp_path, *settings, *BEST, fault=fault, code=KILLED)
    best = tmp_path / "run" / status_of(tmp_path / "run")["best"]["checkpoint"]
    (best / "model.safetensors").write_bytes(b"nothing")
    ended = train_in_child("gpt2", tmp_path, *settings, *BEST, code=CheckpointError.exit_code)
    (line,) = [each for each in ended.stderr.splitlines() if each.startswith("error: ")]
    assert "the checkpoint of the best evaluation cannot be used" in line
    last = "training.load_best_model_at_end=false"
    train_in_child("gpt2", tmp_path, *settings, *BEST, last, code=0)


# --- negative controls ----------------------------------------------------------------------------


def forget_the_average() -> None:
    """Resume with the present weights in place of their average."""
    checkpointer.load_average = lambda path, average: None


def train_forgetting(directory: Path, overrides: tuple[str, ...]) -> None:
    forget_the_average()
    train_with("lstm", directory, overrides, None, {})


def test_an_average_that_is_not_restored_is_found(
    settings: tuple[str, ...], whole: Callable[..., Path], tmp_path: Path
) -> None:
    overrides = (*settings, "training.ema_decay=0.8")
    fault = Fault("step 7 made", signal=TERM)
    train_in_child("lstm", tmp_path, *overrides, fault=fault, code=STOPPED)
    in_child(train_forgetting, tmp_path, overrides, code=0)
    found = differences(whole("lstm", "training.ema_decay=0.8"), tmp_path / "run")
    assert any("average.safetensors" in line for line in found)
    assert any(line.startswith("model_ema/") for line in found)
    assert not any(line.startswith("model/") for line in found)


def test_a_checkpoint_without_the_average_is_refused(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    fault = Fault("step 7 made", signal=TERM)
    train_in_child("lstm", tmp_path, *settings, fault=fault, code=STOPPED)
    averaged = "training.ema_decay=0.8"
    ended = train_in_child("lstm", tmp_path, *settings, averaged, code=5)
    assert "training.ema_decay: None -> 0.8" in ended.stderr
