"""The law of resumption: a run that was interrupted and resumed is the run that was not.

Every weight, moment, counter and random state, and every line of the log, to the last bit. What is
left unrestored on purpose is found and named.
"""

import hashlib
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import model_foundry.experiment.checkpointer
import model_foundry.training.checkpoint.save_load
from model_foundry.data.batches.rows import Blocks
from model_foundry.doctor.same_run import differences
from model_foundry.errors import CheckpointError
from model_foundry.experiment.attempt import Attempt
from model_foundry.experiment.checkpointer import Checkpointer
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.failpoints import watching
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.checkpoint.store import step_directories
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, Ended, Fault, in_child, train_in_child, train_with
from tests.experiments import BLOCKS_OF_TEXT, MODELS, three_passes

pytestmark = pytest.mark.slow

KINDS = ["gpt2", "bert", "lstm", "gru", "rnn"]
TIED = ("model.rnn.tie_word_embeddings=true", "model.rnn.hidden_size=24")
# lanes of five blocks, so that passes end with steps 5, 10 and 15; three blocks are left out
STREAMS = ("data.packing=streams", "training.carry_state=true")
STOPPED = 75
HORIZON = 18
PRECISIONS = {"fp32": "no", "bf16": "bf16"}

TERM, KILL = signal.SIGTERM, signal.SIGKILL
# (step in which it strikes, signal, step that the next attempt starts from); saved every 4 steps
FIVE_IN_A_PASS = [(6, TERM, 6), (8, KILL, 6), (7, TERM, 7), (9, KILL, 8), (9, TERM, 9)]
AT_ITS_BOUNDARY = (11, TERM, 11)
AT_THE_LAST_STEP = [(17, TERM, 17), (18, KILL, 17), (18, TERM, 18)]
MANY = [*FIVE_IN_A_PASS, AT_ITS_BOUNDARY, *AT_THE_LAST_STEP]
FEW = [(3, KILL, 0), (7, TERM, 7), (9, KILL, 8), AT_ITS_BOUNDARY]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


Runs = Callable[..., Path]


@pytest.fixture(scope="module")
def settings(place: Path) -> tuple[str, ...]:
    return three_passes(place)


@pytest.fixture(scope="module")
def uninterrupted(place: Path, settings: tuple[str, ...]) -> Runs:
    """Return a run that nothing interrupted; each is made once."""
    made: dict[Any, Path] = {}

    def run(kind: str, *overrides: str, threads: int = 1) -> Path:
        key = (kind, overrides, threads)
        if key not in made:
            directory = place / f"uninterrupted-{len(made)}"
            ended = train_in_child(kind, directory, *settings, *overrides, threads=threads)
            assert ended.code == 0, ended.said
            lanes = "data.packing=streams" in overrides  # three blocks fill none
            read, rest = (BLOCKS_OF_TEXT - 3, 53) if lanes else (BLOCKS_OF_TEXT, 11)
            assert f"in {read} blocks of 14, {rest} left over" in ended.said
            made[key] = directory / "run"
        return made[key]

    return run


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint to resume from; 0 before the first."""
    whole = [read_state(path) for path in step_directories(run / "checkpoints")]
    return max((s.counters.step for s in whole if s.random is not None), default=0)


def finish(kind: str, directory: Path, *overrides: str, threads: int = 1) -> None:
    """Start a run once more, which must come to its end."""
    ended = train_in_child(kind, directory, *overrides, threads=threads)
    assert ended.code == 0, ended.said


def interrupt(
    series: list[tuple[int, signal.Signals, int]],
    kind: str,
    directory: Path,
    *overrides: str,
    threads: int = 1,
) -> Path:
    """Interrupt a run again and again, then let it end; return its directory."""
    run = directory / "run"
    for step, number, saved in series:
        fault = Fault(f"step {step} made", signal=number)
        ended = train_in_child(kind, directory, *overrides, fault=fault, threads=threads)
        assert ended.code == (STOPPED if number == TERM else KILLED), ended.said
        assert newest_step(run) == saved
    finish(kind, directory, *overrides, threads=threads)
    status = RunDirectory(run).status()
    assert status is not None
    assert (status.state, status.step, status.attempt) == ("completed", HORIZON, len(series) + 1)
    return run


def contents(directory: Path) -> dict[str, tuple[str, int]]:
    """Return the SHA-256 and the time of change of each file but the lock."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def of(precision: str) -> str:
    return f"training.mixed_precision={PRECISIONS[precision]}"


# --- the law --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "precision", "threads", "series"),
    [
        *(pytest.param(kind, "fp32", 1, MANY, id=f"{kind}-fp32-1") for kind in KINDS),
        *(pytest.param(kind, "bf16", 2, FEW, id=f"{kind}-bf16-2") for kind in KINDS),
        *(
            pytest.param(
                *case, MANY, id="-".join(map(str, ("many", *case))), marks=pytest.mark.torture
            )
            for case in product(KINDS, PRECISIONS, (1, 2))
            if case[1:] != ("fp32", 1)
        ),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    kind: str,
    precision: str,
    threads: int,
    series: list[tuple[int, signal.Signals, int]],
    settings: tuple[str, ...],
    uninterrupted: Runs,
    tmp_path: Path,
) -> None:
    overrides = (*settings, of(precision))
    whole = uninterrupted(kind, of(precision), threads=threads)
    run = interrupt(series, kind, tmp_path, *overrides, threads=threads)
    assert differences(whole, run) == []
    newest = read_state(run / "checkpoints" / f"step-{HORIZON:08d}")
    assert newest.identity.environment["threads"] == str(threads)

    before = contents(run)  # after the end, there is nothing left to do
    ended = train_in_child(kind, tmp_path, *overrides, threads=threads)
    assert ended.code == 0 and "the run is complete" in ended.said
    assert contents(run) == before


def test_the_runs_compared_are_not_all_the_same(uninterrupted: Runs) -> None:
    """Precision takes effect, dropout is on, passes differ and steps straddle them."""
    assert differences(uninterrupted("lstm", of("fp32")), uninterrupted("lstm", of("bf16")))
    without = ("model.rnn.dropout=0.0", of("fp32"))
    assert differences(uninterrupted("lstm", of("fp32")), uninterrupted("lstm", *without))
    assert HORIZON * 6 > 3 * BLOCKS_OF_TEXT and BLOCKS_OF_TEXT % 6


def test_with_workers_that_prepare_batches(
    settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    """What they had prepared when the run stopped was not drawn; masks do not depend on them."""
    workers = "training.dataloader_num_workers=2"
    run = interrupt([(7, TERM, 7), (9, KILL, 8)], "bert", tmp_path, *settings, workers)
    assert differences(uninterrupted("bert", of("fp32")), run) == []


def test_with_milestones_and_retention(
    settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    kept = (
        "training.save_total_limit=2",
        "training.milestones={words: 40, steps: [7, 9], logarithmic: 5}",
    )
    whole = uninterrupted("gru", *kept)
    run = interrupt(
        [(6, TERM, 6), (10, KILL, 8), (13, TERM, 13)], "gru", tmp_path, *settings, *kept
    )
    assert differences(whole, run) == []
    states = [read_state(path) for path in step_directories(run / "checkpoints")]
    wanted = [read_state(path) for path in step_directories(whole / "checkpoints")]
    milestones = [s.counters.step for s in states if s.milestone]
    assert {1, 2, 4, 5, 7, 9, 10, 15} < set(milestones)
    assert milestones == [s.counters.step for s in wanted if s.milestone]
    assert sum(s.random is not None and not s.milestone for s in states) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_tied_is_one_matrix_in_a_resumed_model(
    kind: str, settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    tied = () if kind in ("gpt2", "bert") else TIED
    stop = Fault("step 7 made", signal=TERM)
    assert train_in_child(kind, tmp_path, *settings, *tied, fault=stop).code == STOPPED
    ended = in_child(train_with_a_look, kind, tmp_path, (*settings, *tied))
    assert ended.code == 0 and "tied by identity" in ended.said, ended.said
    assert differences(uninterrupted(kind, *(tied or (of("fp32"),))), tmp_path / "run") == []


def train_with_a_look(kind: str, directory: Path, overrides: tuple[str, ...]) -> None:
    """Resume, and look at the model as soon as it has its weights."""
    restore = Checkpointer.restore

    def look(self: Checkpointer, checkpoint: Any, training: Any) -> None:
        restore(self, checkpoint, training)
        model, optimizer = training.model, training.optimizer
        head = model.hf_model.get_output_embeddings().weight
        assert model.get_input_embeddings().weight is head
        assert sum(p is head for group in optimizer.param_groups for p in group["params"]) == 1
        model_foundry.experiment.checkpointer.logger.info("tied by identity")

    Checkpointer.restore = look  # type: ignore[method-assign]
    train_with(kind, directory, overrides, None, {})


@pytest.mark.parametrize(
    "cadence",
    [
        ("training.eval_steps=1", "training.logging_steps=5"),
        ("training.save_steps=1", "training.save_total_limit=3"),
        ("training.eval_steps=7", "training.save_steps=5", "training.milestones={steps: [8]}"),
    ],
    ids=["evaluation", "saving", "both"],
)
def test_watching_otherwise_between_attempts_trains_the_same(
    cadence: tuple[str, ...], settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    stop = Fault("step 5 made", signal=TERM)
    assert train_in_child("gpt2", tmp_path, *settings, fault=stop).code == STOPPED
    finish("gpt2", tmp_path, *settings, *cadence)
    whole, run = uninterrupted("gpt2", of("fp32")), tmp_path / "run"
    ends = ("model", "checkpoints/step-00000018")
    assert all(tensors(whole / end) == tensors(run / end) != {} for end in ends)
    losses = [
        {line["step"]: line["train/loss"] for line in read_metrics(path) if "train/loss" in line}
        for path in (whole / "metrics.jsonl", run / "metrics.jsonl")
    ]
    assert losses[1].items() <= losses[0].items()


def tensors(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.safetensors")}


# --- the law with a carried state -----------------------------------------------------------------


def test_with_a_carried_state(
    settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    """Within a pass, where it ends, and with a checkpoint that is older than the last step."""
    series = [(7, TERM, 7), (9, KILL, 8), (10, TERM, 10)]
    run = interrupt(series, "lstm", tmp_path, *settings, *STREAMS)
    assert differences(uninterrupted("lstm", *STREAMS), run) == []
    assert (run / "checkpoints" / "step-00000018" / "carried.safetensors").is_file()
    assert differences(uninterrupted("lstm", STREAMS[0]), run)  # it makes a difference


def test_a_carried_state_goes_on_in_micro_batches_of_another_size(
    settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    still = (*STREAMS, "model.rnn.dropout=0.0")
    stop = Fault("step 7 made", signal=TERM)
    assert train_in_child("lstm", tmp_path, *settings, *still, fault=stop).code == STOPPED
    cut = ("training.per_device_train_batch_size=3", "training.gradient_accumulation_steps=2")
    finish("lstm", tmp_path, *settings, *still, *cut)
    runs = (uninterrupted("lstm", *still), tmp_path / "run")
    whole, run = ([x for x in read_metrics(r / "metrics.jsonl") if "train/loss" in x] for r in runs)
    for name in ("train/loss", "train/grad_norm"):
        assert [x[name] for x in run] == pytest.approx([x[name] for x in whole], rel=1e-4)


def carried_state_left_out(directory: Path, overrides: tuple[str, ...]) -> None:
    def begin_anew(checkpoint: Path, carried: Any) -> None:
        saved = load_file(checkpoint / "carried.safetensors")
        carried.restore({name: tensor.zero_() for name, tensor in saved.items()})

    model_foundry.experiment.checkpointer.load_carried = begin_anew
    train_with("lstm", directory, overrides, None, {})


def test_a_carried_state_that_is_not_restored_is_found_and_named(
    settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    stop = Fault("step 7 made", signal=TERM)
    assert train_in_child("lstm", tmp_path, *settings, *STREAMS, fault=stop).code == STOPPED
    ended = in_child(carried_state_left_out, tmp_path, (*settings, *STREAMS))
    assert ended.code == 0, ended.said
    found = differences(uninterrupted("lstm", *STREAMS), tmp_path / "run")
    assert any(line.startswith("log, step 8: train/loss: ") for line in found), found


def test_a_checkpoint_without_the_carried_state_is_refused(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    stop = Fault("step 7 made", signal=TERM)
    assert train_in_child("lstm", tmp_path, *settings, *STREAMS, fault=stop).code == STOPPED
    ended = in_child(resume_without_its_file, tmp_path, (*settings, *STREAMS))
    assert ended.code == CheckpointError.exit_code, ended.said
    assert "carried.safetensors: cannot be read" in ended.said


def resume_without_its_file(directory: Path, overrides: tuple[str, ...]) -> None:
    load = model_foundry.experiment.checkpointer.load_carried

    def load_nothing(checkpoint: Path, carried: Any) -> None:
        (checkpoint / "carried.safetensors").unlink()  # after the checkpoint was found whole
        load(checkpoint, carried)

    model_foundry.experiment.checkpointer.load_carried = load_nothing
    train_with("lstm", directory, overrides, None, {})


# --- negative controls: what is not restored is found, and named ----------------------------------


def nothing_left_out() -> None:
    """Patch nothing."""


def random_states_left_out() -> None:
    model_foundry.experiment.checkpointer.load_random_states = lambda *_, **__: []


def pythons_random_state_left_out() -> None:
    _keep_generator(lambda: random.getstate(), random.setstate)


def numpys_random_state_left_out() -> None:
    _keep_generator(lambda: np.random.get_state(), np.random.set_state)


def _keep_generator(get: Callable[[], Any], put: Callable[[Any], None]) -> None:
    load = model_foundry.experiment.checkpointer.load_random_states

    def load_others(directory: Path, state: Any, **of: Any) -> list[str]:
        before = get()
        found = load(directory, state, **of)
        put(before)
        return found

    model_foundry.experiment.checkpointer.load_random_states = load_others


def position_left_out() -> None:
    make = Attempt._batches

    def from_the_start(self: Attempt) -> Any:
        state = self.context.state
        position, state.blocks_seen = state.blocks_seen, 0
        batches = make(self)
        first = next(batches)  # reads the position
        state.blocks_seen = position

        def chained() -> Any:
            yield first
            yield from batches

        return chained()

    Attempt._batches = from_the_start  # type: ignore[method-assign]


def all_moments_left_out() -> None:
    model_foundry.experiment.checkpointer.load_optimizer = lambda directory, model, optimizer: None


def one_moment_left_out() -> None:
    load = model_foundry.experiment.checkpointer.load_optimizer

    def load_most(directory: Path, model: Any, optimizer: Any) -> None:
        load(directory, model, optimizer)
        parameter = next(iter(optimizer.state))
        optimizer.state[parameter]["exp_avg"].zero_()

    model_foundry.experiment.checkpointer.load_optimizer = load_most


def counter_of_the_optimizer_left_out() -> None:
    load = model_foundry.experiment.checkpointer.load_optimizer

    def load_most(directory: Path, model: Any, optimizer: Any) -> None:
        load(directory, model, optimizer)
        for moments in optimizer.state.values():
            moments["step"].zero_()

    model_foundry.experiment.checkpointer.load_optimizer = load_most


def weights_left_out() -> None:
    model_foundry.experiment.checkpointer.load_weights = lambda directory, model: None


def tokens_left_out() -> None:
    _forget("tokens_seen", 0)


def words_left_out() -> None:
    _forget("words_seen", 0)


def best_loss_left_out() -> None:
    _forget("best_loss", None)


def patience_left_out() -> None:
    _forget("evaluations_since_best", 0)


def blocks_left_out() -> None:
    _forget("blocks_seen", 0)


def _forget(counter: str, value: Any) -> None:
    state_of = ResumePoint.state

    def forgetful(self: ResumePoint) -> Any:
        state = state_of(self)
        setattr(state, counter, value)
        return state

    ResumePoint.state = forgetful  # type: ignore[method-assign]


def passes_of_masks_left_out() -> None:
    """Mask each pass like the first; the order of the blocks stays."""
    read = Blocks.read
    Blocks.read = lambda self, keys, **how: replace(  # type: ignore[method-assign]
        read(self, keys, **how), keys=[(0, index) for _, index in keys]
    )


def train_without(
    leave_out: Callable[[], None],
    kind: str,
    directory: Path,
    overrides: tuple[str, ...],
    stop: bool,
) -> None:
    """Train with a piece of the state left out.

    Each step draws from every generator, as a model or an objective of somebody else might.
    """
    fault = Fault("step 10 made", signal=TERM) if stop else None
    leave_out()

    def draw(point: str) -> None:
        if point.startswith("step ") and point.endswith(" made"):
            random.random()
            np.random.random()

    with watching(draw):
        train_with(kind, directory, overrides, fault, {})


UNLIKE = "gwbp " * 40  # the likelier the training text becomes, the less likely is this
CONTROLS = {
    random_states_left_out: ("lstm", "model/model.safetensors: "),
    pythons_random_state_left_out: ("lstm", "step-00000018: random.python: "),
    numpys_random_state_left_out: ("lstm", "step-00000018: random.numpy: "),
    position_left_out: ("lstm", "log, step 11: train/batch_digest: "),
    blocks_left_out: ("lstm", "step-00000018: "),
    all_moments_left_out: ("lstm", "step-00000018/optimizer.safetensors: "),
    one_moment_left_out: ("lstm", "step-00000018/optimizer.safetensors: "),
    counter_of_the_optimizer_left_out: ("lstm", "/step differs"),
    weights_left_out: ("lstm", "log, step 11: train/loss: "),
    tokens_left_out: ("lstm", "step-00000018: counters.tokens_seen: "),
    words_left_out: ("lstm", "step-00000018: counters.words_seen: "),
    best_loss_left_out: ("lstm", "step-00000018: counters.best_loss: "),
    patience_left_out: ("lstm", "step-00000018: counters.evaluations_since_best: "),
    passes_of_masks_left_out: ("bert", "log, step 11: train/batch_digest: "),
}


@pytest.fixture(scope="module")
def watched(place: Path, settings: tuple[str, ...]) -> tuple[str, ...]:
    """The settings of a run whose first evaluation stays its best."""
    (place / "unlike.txt").write_text(UNLIKE)
    rate, often = "training.learning_rate=0.03", "training.eval_steps=2"
    return (*settings, f"data.validation={place / 'unlike.txt'}", rate, often)


@pytest.fixture(scope="module")
def stopped(place: Path, watched: tuple[str, ...]) -> Callable[[str], tuple[Path, Path]]:
    """Return a run that was not interrupted and one that was, after step 10; made once a kind."""
    made: dict[str, tuple[Path, Path]] = {}

    def runs(kind: str) -> tuple[Path, Path]:
        if kind not in made:
            made[kind] = place / f"{kind}-whole", place / f"{kind}-stopped"
            for directory, stop in zip(made[kind], (False, True), strict=True):
                ended = train_unpatched(kind, directory, watched, stop=stop)
                assert ended.code == (STOPPED if stop else 0), ended.said
        return made[kind]

    return runs


def train_unpatched(
    kind: str, directory: Path, settings: tuple[str, ...], *, stop: bool = False
) -> Ended:
    return in_child(train_without, nothing_left_out, kind, directory, settings, stop)


@pytest.mark.parametrize("leave_out", CONTROLS, ids=lambda f: f.__name__)
def test_state_that_is_not_restored_is_found_and_named(
    leave_out: Callable[[], None],
    watched: tuple[str, ...],
    stopped: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
) -> None:
    kind, named = CONTROLS[leave_out]
    whole, interrupted = stopped(kind)
    copy(interrupted, tmp_path)
    ended = in_child(train_without, leave_out, kind, tmp_path, watched, False)
    assert ended.code == 0, ended.said
    found = differences(whole / "run", tmp_path / "run")
    assert any(named in line for line in found), found


@pytest.mark.parametrize("kind", ["lstm", "bert"])
def test_the_same_with_nothing_left_out_is_equal(
    kind: str,
    watched: tuple[str, ...],
    stopped: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
) -> None:
    whole, interrupted = stopped(kind)
    copy(interrupted, tmp_path)
    ended = train_unpatched(kind, tmp_path, watched)
    assert ended.code == 0, ended.said
    assert differences(whole / "run", tmp_path / "run") == []


def test_an_evaluation_that_is_made_again_counts_once(
    watched: tuple[str, ...], stopped: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """A signal behind an evaluation leaves a checkpoint that knows of it."""
    whole, _ = stopped("lstm")
    stop = Fault("step 10 evaluated", signal=TERM)
    assert train_in_child("lstm", tmp_path, *watched, fault=stop).code == STOPPED
    state = read_state(tmp_path / "run" / "checkpoints" / "step-00000010")
    assert (state.counters.evaluated_step, state.counters.evaluations_since_best) == (10, 4)
    finish("lstm", tmp_path, *watched)
    counters = [
        read_state(run / "checkpoints" / f"step-{HORIZON:08d}").counters
        for run in (whole / "run", tmp_path / "run")
    ]
    assert counters[0] == counters[1] and counters[0].evaluations_since_best == 7


def copy(interrupted: Path, directory: Path) -> None:
    shutil.copytree(interrupted / "run", directory / "run")


def test_every_architecture_is_here() -> None:
    assert set(KINDS) == {model["architecture"] for model in MODELS.values()}
