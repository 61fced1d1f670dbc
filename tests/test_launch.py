"""Runs of several processes: one run, with the batches and the losses of a single process.

Most are started here as `torchrun` would start them, from a server that has imported everything;
the last ones by `torchrun` itself.
"""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.config import save_config
from model_foundry.doctor.same_run import differences
from model_foundry.errors import ConfigError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from model_foundry.foundation.locks import exclusive
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.distributed import split_global_batch
from tests.children import KILLED, Ended, Fault, before, launched, send, train_with
from tests.experiments import MODELS, snapshot, three_passes, tiny_experiment
from tests.waiting import terminated_at

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CLOCKED = {"attempt", "time", "train/tokens_per_second", "train/peak_memory_mib"}
NO_DROPOUT = {
    "backbone": ("model.backbone.dropout=0.0", "model.backbone.attention_dropout=0.0"),
    "transformer": ("model.transformer.dropout=0.0", "model.transformer.attention_dropout=0.0"),
    "rnn": ("model.rnn.dropout=0.0",),
}
TERM, KILL = signal.SIGTERM, signal.SIGKILL


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("launch")


@pytest.fixture(scope="module")
def settings(place: Path) -> tuple[str, ...]:
    """Three passes over a text in steps of six rows, two at a time, with a test text."""
    return (*three_passes(place), f"data.test={place / 'held-out.txt'}")


def train_in(
    number: int,
    kind: str,
    directory: Path,
    *overrides: str,
    faults: dict[int, Fault] | None = None,
    **options: Any,
) -> list[Ended]:
    """Train in several processes; a fault may strike in each."""
    strikes = [(faults or {}).get(index) for index in range(number)]
    return launched(*((train_with, kind, directory, overrides, f, options) for f in strikes))


def must_train(number: int, kind: str, directory: Path, *overrides: str, **options: Any) -> Path:
    """Train to the end; only main may speak."""
    main, *others = train_in(number, kind, directory, *overrides, **options)
    assert main.code == 0, main.stderr
    for other in others:
        assert (other.code, other.stderr) == (0, "")
    return directory / "run"


def log_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKED} for line in lines]


def must_be_close(run: Path, whole: Path) -> None:
    """Require the same steps on the same rows, and losses that agree but for rounding."""
    ours, theirs = log_of(run), log_of(whole)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, other in zip(ours, theirs, strict=True):
        digests = line.pop("train/batch_digest", None), other.pop("train/batch_digest", None)
        assert digests[0] == digests[1]
        assert line == pytest.approx(other, rel=1e-4), line["step"]


def files_of(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*"))


def steps_saved(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in step_directories(run / "checkpoints")]


def status_of(run: Path) -> tuple[str, int | None, int]:
    status = RunDirectory(run).status()
    assert status is not None
    return status.state, status.exit_code, status.step


# --- a step divided -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "most", "processes", "expected"),
    [
        (12, 4, 1, (4, 3)),  # alone: as it was asked for
        (12, 4, 2, (3, 2)),  # 6 rows do not fit at once, and 4 + 2 would be uneven
        (12, 4, 3, (4, 1)),
        (12, 4, 12, (1, 1)),
        (14, 3, 2, (1, 7)),
    ],
)
def test_a_step_keeps_its_rows_on_any_number_of_processes(
    rows: int, most: int, processes: int, expected: tuple[int, int]
) -> None:
    share = split_global_batch(rows, most=most, world_size=processes)
    assert (share.micro_batch, share.micro_batches) == expected
    assert share.rows * processes == rows and share.micro_batch <= most


def test_a_step_that_cannot_be_divided_is_refused_with_what_could() -> None:
    with pytest.raises(ConfigError) as caught:
        split_global_batch(12, most=4, world_size=5)
    assert str(caught.value) == (
        "training.per_device_train_batch_size (=4) x training.gradient_accumulation_steps (=3) are "
        "12 rows a step, for any number of processes, and 5 processes cannot divide them evenly; "
        "start 4 or 6, or change the settings"
    )


# --- the same run ---------------------------------------------------------------------------------

STREAMS = ("data.packing=streams", "training.carry_state=true")
RUNS = dict.fromkeys(MODELS, ()) | {"lstm with its state": STREAMS}


@pytest.mark.parametrize("name", sorted(RUNS))
def test_two_processes_train_the_model_of_one(
    name: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    kind = name.removesuffix(" with its state")
    (section,) = MODELS[kind].keys() - {"architecture"}
    dropout = NO_DROPOUT.get(section, ())
    overrides = (*settings, "training.max_steps=6", *dropout, *RUNS[name])
    alone = must_train(1, kind, tmp_path / "alone", *overrides)
    together = must_train(2, kind, tmp_path / "together", *overrides)
    must_be_close(together, alone)
    assert files_of(together) == files_of(alone)
    (found, expected) = (
        RunDirectory(run).measurement("loss-step-00000006") for run in (together, alone)
    )
    assert found == pytest.approx(expected, rel=1e-4)


STEERED = (
    "training.losses={label_smoothing: 1.0, confidence_penalty: 0.1}",
    "training.metrics=[loss, top5_accuracy, calibration_error]",
    *("training.ema_decay=0.8", "training.metric_for_best_model=ema/loss"),
    *("training.early_stopping_patience=2", "training.early_stopping_threshold=9"),
    *("training.load_best_model_at_end=true", "training.save_steps=3", "training.use_cpu=true"),
)


def test_two_processes_are_steered_as_one(settings: tuple[str, ...], tmp_path: Path) -> None:
    """Both stop at the third evaluation, with the figures, weights and files of one process."""
    tested = f"data.test={tmp_path / 'tested.txt'}"
    (tmp_path / "tested.txt").write_text("the big dog sees a cat\n" * 4)
    overrides = (*settings, *NO_DROPOUT["rnn"], *STEERED, tested)
    alone = must_train(1, "lstm", tmp_path / "alone", *overrides)
    together = must_train(2, "lstm", tmp_path / "together", *overrides)
    must_be_close(together, alone)
    assert status_of(together) == status_of(alone) == ("completed", 0, 9)
    assert files_of(together) == files_of(alone)
    assert "model_ema/model.safetensors" in files_of(together)


@pytest.fixture(scope="module")
def plain(settings: tuple[str, ...]) -> tuple[str, ...]:
    """The same without dropout, whose masks differ with the number of processes."""
    return (*settings, *NO_DROPOUT["rnn"])


@pytest.fixture(scope="module")
def whole(place: Path, plain: tuple[str, ...]) -> Path:
    """A run of one process that nothing interrupted."""
    return must_train(1, "lstm", place / "whole", *plain)


def test_a_run_resumes_with_another_number_of_processes(
    plain: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    for number, point in ((1, "step 5 made"), (2, "step 11 made"), (1, "step 15 made")):
        ended = train_in(number, "lstm", tmp_path, *plain, faults={0: Fault(point, TERM)})
        assert [each.code for each in ended] == [75] * number, ended
    assert steps_saved(tmp_path / "run") == [4, 5, 8, 11, 12, 15]
    (main, other) = train_in(2, "lstm", tmp_path, *plain)
    assert (main.code, other.code) == (0, 0), main.stderr
    assert "processes: 1 -> 2" in main.stderr  # the last bits
    line = "2 processes divide the 6 rows of a step; forward passes of each: 3, rows in a pass: 1\n"
    assert line in main.stderr
    must_be_close(tmp_path / "run", whole)


def test_resumed_on_as_many_processes_a_run_is_the_same_to_the_last_bit(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    """Though each process draws dropout masks of its own."""
    overrides = (*settings, "model.rnn.dropout=0.2")
    unbroken = must_train(2, "lstm", tmp_path / "unbroken", *overrides)
    for point in ("step 5 made", "step 7 made"):
        ended = train_in(2, "lstm", tmp_path, *overrides, faults={1: Fault(point, TERM)})
        assert [each.code for each in ended] == [75, 75], ended
    assert differences(unbroken, must_train(2, "lstm", tmp_path, *overrides)) == []


def test_a_finished_run_answers_all_processes_and_changes_nothing(
    whole: Path, plain: tuple[str, ...]
) -> None:
    before = snapshot(whole)
    main, other = train_in(2, "lstm", whole.parent, *plain)
    assert (main.code, other.code) == (0, 0), main.stderr
    assert "the run is complete, at step 18; there is nothing left to do" in main.stderr
    assert snapshot(whole) == before


# --- what main prepares ---------------------------------------------------------------------------

MADE_BY_MAIN = (
    "model_foundry.tokenizer.tokenizer_factory:_save",
    "model_foundry.data.tokens.tokenize:_tokenize",
)


def train_noting(directory: Path, overrides: tuple[str, ...]) -> None:
    """Train, and leave a file for each thing that this process has made of the text."""
    for target in MADE_BY_MAIN:
        mark = directory / f"{target.partition(':')[2]}-{os.environ['RANK']}"
        before(target, mark.touch)
    if os.environ["RANK"] == "0":  # so that the others would come first, if they did not wait
        before("model_foundry.objectives.preparation:prepare", partial(time.sleep, 0.3))
    train_with("lstm", directory, overrides, None, {})


def test_main_prepares_the_text_and_the_others_open_what_it_made(
    plain: tuple[str, ...], tmp_path: Path
) -> None:
    overrides = (*plain, f"data.cache_dir={tmp_path / 'cache'}", "training.max_steps=2")
    ended = launched(*[(train_noting, tmp_path, overrides)] * 2)
    assert [each.code for each in ended] == [0, 0], ended
    marks = {path.name for path in tmp_path.iterdir()} - {"run", "cache"}
    assert marks == {f"{target.partition(':')[2]}-0" for target in MADE_BY_MAIN}


# --- faults before the training -------------------------------------------------------------------


def errors_of(ended: list[Ended]) -> list[str]:
    return [line for each in ended for line in each.stderr.splitlines() if "error: " in line]


def test_a_corpus_that_cannot_be_read_is_named_by_all_and_nothing_is_left(tmp_path: Path) -> None:
    ended = train_in(2, "gpt2", tmp_path, f"data.train={tmp_path / 'none.txt'}")
    assert [each.code for each in ended] == [3, 3]
    stderr = f"error: {tmp_path / 'none.txt'}: no such file, folder or match; check the path"
    assert errors_of(ended) == [stderr, stderr]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_refused_by_all(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with exclusive(tmp_path / "run" / ".lock"):
        ended = train_in(2, "gpt2", tmp_path)
    assert [each.code for each in ended] == [6, 6]
    assert all("is in use by process" in line for line in errors_of(ended))


def test_steps_that_cannot_be_divided_are_refused(
    plain: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    """By a new run as a fault of its settings (2), by one that is there as another run (5)."""
    uneven = (*plain, "training.per_device_train_batch_size=1")
    ended = train_in(2, "lstm", tmp_path, *uneven)
    assert [each.code for each in ended] == [2, 2]
    assert all(
        "3 rows a step" in line and "; start 1 or 3, or " in line for line in errors_of(ended)
    )
    assert not (tmp_path / "run").exists()
    one_step = ("training.max_steps=1", "training.warmup_steps=0")
    must_train(1, "lstm", tmp_path, *uneven, *one_step)
    ended = train_in(2, "lstm", tmp_path, *uneven, *one_step)
    assert [each.code for each in ended] == [5, 5]
    assert all("the run in output_dir keeps its global batch" in line for line in errors_of(ended))


def train_beside(text: Path, directory: Path, overrides: tuple[str, ...]) -> None:
    """Train on the text of another machine, which has the same name."""
    os.chdir(text)
    train_with("gpt2", directory, overrides, None, {})


def test_machines_that_see_other_texts_do_not_train_one_model(tmp_path: Path) -> None:
    texts = [tmp_path / "one", tmp_path / "other"]
    for number, text in enumerate(texts):
        text.mkdir()
        line = "the dogs chase a cat\n" * 40 + "and see it\n" * number
        (text / "corpus.txt").write_text(line)
    overrides = ("data.train=corpus.txt", "data.document=line")
    ended = launched(*((train_beside, text, tmp_path, overrides) for text in texts))
    assert [each.code for each in ended] == [3, 3], ended
    for line in errors_of(ended):
        assert line.startswith("error: process 1 of 2 sees another experiment than process 0 (con")
    assert not (tmp_path / "run").exists()


def test_weights_are_divided_among_gpus_only(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    divided = "training.distributed.strategy=fsdp2"
    message = r"training\.distributed\.strategy \(=fsdp2\) shards a model among GPUs, and there is"
    with pytest.raises(ConfigError, match=message):
        train(tiny_experiment("gpt2", tmp_path, divided))
    ended = train_in(2, "gpt2", tmp_path, divided)
    assert [each.code for each in ended] == [2, 2]


# --- signals and deaths ---------------------------------------------------------------------------


def train_signalled(
    number: int | None, target: str, directory: Path, overrides: tuple[str, ...]
) -> None:
    """Train; before a function is called, a signal comes. None: it does not come here."""
    before(target, lambda: None if number is None else send(number))
    train_with("lstm", directory, overrides, None, {})


@pytest.mark.parametrize("struck", [0, 1])
@pytest.mark.parametrize(
    "moment",
    ["model_foundry.objectives.preparation:prepare", "model_foundry.experiment.train:create_model"],
)
def test_a_signal_to_one_before_the_training_stops_all(
    struck: int, moment: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    numbers = [TERM if index == struck else None for index in (0, 1)]
    ended = launched(*((train_signalled, n, moment, tmp_path, settings) for n in numbers))
    assert [each.code for each in ended] == [75, 75], ended
    lines = errors_of(ended)
    assert any("SIGTERM: stopped" in line for line in lines)
    assert all("; run the same command again to continue" in line for line in lines)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_is_missed_at_once_and_the_run_resumes(
    killed: int, plain: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    fault = {killed: Fault("step 7 made", KILL)}
    ended = train_in(2, "lstm", tmp_path, *plain, faults=fault)
    assert ended[killed].code == KILLED
    survivor = ended[1 - killed]
    assert survivor.code == 9, survivor.stderr
    (line,) = errors_of([survivor])
    assert line.startswith("error: another process of the run is gone, as step ")
    assert "Traceback" not in survivor.stderr
    state = ("failed", 9) if killed == 1 else ("running", None)
    assert status_of(tmp_path / "run")[:2] == state
    ended = train_in(2 - killed, "lstm", tmp_path, *plain)
    assert [each.code for each in ended] == [0] * (2 - killed), ended
    must_be_close(tmp_path / "run", whole)


# --- torchrun itself ------------------------------------------------------------------------------


def torchrun(directory: Path, *overrides: str) -> list[str]:
    config = directory / "experiment.yaml"
    config.write_text(save_config(tiny_experiment("lstm", directory, *overrides)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc_per_node=2", "-m", "model_foundry", "train", str(config)]


def started(words: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment)


def test_torchrun_stops_on_a_signal_and_resumes(
    plain: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    words = torchrun(tmp_path, *plain)
    with started(words) as process:
        stderr = terminated_at(process, "step 2/")
    saved = steps_saved(tmp_path / "run")[-1]
    assert status_of(tmp_path / "run") == ("interrupted", 75, saved)
    for rank in (0, 1):
        text = f"error: rank {rank}: SIGTERM: saved at step {saved}; run the same command again"
        assert stderr.count(text) == 1, stderr
    with started(words) as process:
        output, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert stderr.count("step 18/18  loss") == 1
    assert output.count(str(tmp_path / "run" / "model")) == 1
    assert "arning" not in stderr, stderr
    must_be_close(tmp_path / "run", whole)


# --- SLURM ----------------------------------------------------------------------------------------

NOTE = 'echo "$@" >> "$CALLS"; '
STAND_INS = {
    "scontrol": NOTE + "echo first-machine",
    # the file is as old as the beginning of the job: within one tick of the clock
    "srun": NOTE
    + """if [ $STATE != refused ]; then echo '{"state": "'$STATE'"}' > "$RUN/status.json"
touch -r "$RUN".begun.* "$RUN/status.json"; fi; exit $CODE""",
}


@pytest.mark.parametrize(
    ("state", "code", "again"),
    [
        ("interrupted", 1, True),
        ("failed", 1, False),
        ("completed", 0, False),
        ("refused", 1, False),  # the status is that of another start
    ],
)
def test_the_slurm_job_is_queued_again_when_its_time_was_up(
    state: str, code: int, again: bool, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    for name, text in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **{"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "RUN": str(tmp_path)},
        **{"STATE": state, "CODE": str(code), "SLURM_JOB_ID": "7", "SLURM_NNODES": "2"},
        **{"SLURM_CPUS_PER_TASK": "32", "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_NODELIST": "n[1-2]"},
    }
    (tmp_path / "status.json").write_text('{"state": "interrupted"}')
    os.utime(tmp_path / "status.json", (1e9, 1e9))
    script = ROOT / "examples" / "slurm" / "train.sbatch"
    words = ["bash", str(script), "a.yaml", str(tmp_path), "training.max_steps=5"]
    assert subprocess.run(words, env=environment).returncode == code
    hostnames, torchrun, *rest = calls.read_text().splitlines()
    assert hostnames == "show hostnames n[1-2]"
    assert torchrun.startswith("torchrun --nnodes=2 --nproc_per_node=4 --rdzv_backend=c10d ")
    assert torchrun.endswith(f"train a.yaml output_dir={tmp_path} training.max_steps=5")
    assert rest == (["requeue 7"] if again else [])
    assert list(tmp_path.parent.glob("*.begun.*")) == []
