"""The law of resuming: a run that was interrupted and resumed is the run that was not.

Every weight, moment, counter and random state, and every line of the log, to the last bit. State
that is left unrestored on purpose is found and named.
"""

import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import model_foundry.experiment.checkpointer as checkpointer
import model_foundry.training.loop as loop
from model_foundry.data.batches.token_examples import Blocks
from model_foundry.doctor.same_run import differences
from model_foundry.errors import CheckpointError
from model_foundry.experiment.checkpointer import Checkpointer
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.failpoints import watching
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.checkpoint.optimizer_state import read_optimizer
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.plateau import Plateau
from model_foundry.training.state import TrainState
from tests.children import KILLED, STOPPED, Fault, in_child, train_in_child, train_with
from tests.experiments import BLOCKS_OF_TEXT, MODELS, OPTIMIZED, TOY, snapshot, three_passes

pytestmark = pytest.mark.slow

KINDS = ["gpt2", "bert", "lstm", "gru", "rnn"]
OTHERS = ["llama", "min_gru", "min_lstm", "transformer_decoder", "transformer_encoder"]
# the others are interrupted in short in tests/faults/test_kinds.py
TIED = ("model.rnn.tie_word_embeddings=true", "model.rnn.hidden_size=24")
# lanes of five blocks, so that passes end with steps 5, 10 and 15; three blocks are left out
STREAMS = ("data.packing=streams", "training.carry_state=true")
PLATEAUS = (
    "training.lr_scheduler_type=reduce_lr_on_plateau",
    "training.reduce_lr_on_plateau={patience: 1, threshold: 0.9}",  # nothing improves by that
)
TOTAL_STEPS = 18
PRECISIONS = {"fp32": "no", "bf16": "bf16"}

TERM, KILL = signal.SIGTERM, signal.SIGKILL
Series = list[tuple[int, signal.Signals, int]]
# (step in which it strikes, signal, step that the next attempt starts from); saved every 4 steps
FIVE_IN_A_PASS: Series = [(6, TERM, 6), (8, KILL, 6), (7, TERM, 7), (9, KILL, 8), (9, TERM, 9)]
AT_ITS_BOUNDARY = (11, TERM, 11)
AT_THE_LAST_STEP: Series = [(17, TERM, 17), (18, KILL, 17), (18, TERM, 18)]
MANY = [*FIVE_IN_A_PASS, AT_ITS_BOUNDARY, *AT_THE_LAST_STEP]
FEW: Series = [(3, KILL, 0), (7, TERM, 7), (9, KILL, 8), AT_ITS_BOUNDARY]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


Runs = Callable[..., Path]


@pytest.fixture(scope="module")
def settings(place: Path) -> tuple[str, ...]:
    return three_passes(place)


@pytest.fixture(scope="module")
def uninterrupted(place: Path, settings: tuple[str, ...]) -> Runs:
    """Return a run that nothing interrupted; each is trained once."""
    made: dict[Any, Path] = {}

    def run(kind: str, *overrides: str, threads: int = 1) -> Path:
        key = (kind, overrides, threads)
        if key not in made:
            directory = place / f"uninterrupted-{len(made)}"
            stderr = finish(kind, directory, *settings, *overrides, threads=threads)
            lanes = "data.packing=streams" in overrides  # three blocks fill none
            read, rest = (BLOCKS_OF_TEXT - 3, 53) if lanes else (BLOCKS_OF_TEXT, 11)
            assert f"in {read} blocks of 14, {rest} left over" in stderr
            made[key] = directory / "run"
        return made[key]

    return run


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint to resume from; 0 before the first."""
    states = [read_state(path) for path in step_directories(run / "checkpoints")]
    return max((s.counters.step for s in states if s.random is not None), default=0)


def last_counters(run: Path) -> Any:
    return read_state(run / "checkpoints" / f"step-{TOTAL_STEPS:08d}").counters


def finish(kind: str, directory: Path, *overrides: str, **options: Any) -> str:
    """Run to the end; return the messages."""
    return train_in_child(kind, directory, *overrides, code=0, **options).stderr


def stop(kind: str, directory: Path, *overrides: str, point: str = "step 7 made") -> None:
    """Run until SIGTERM arrives at a failpoint."""
    train_in_child(kind, directory, *overrides, fault=Fault(point, signal=TERM), code=STOPPED)


def interrupt(series: Series, kind: str, directory: Path, *overrides: str, **options: Any) -> Path:
    """Interrupt a run again and again, then let it end; return its directory."""
    run = directory / "run"
    for step, number, saved in series:
        fault = Fault(f"step {step} made", signal=number)
        code = STOPPED if number == TERM else KILLED
        train_in_child(kind, directory, *overrides, fault=fault, code=code, **options)
        assert newest_step(run) == saved
    finish(kind, directory, *overrides, **options)
    status = RunDirectory(run).status()
    assert status is not None
    expected = ("completed", TOTAL_STEPS, len(series) + 1)
    assert (status.state, status.step, status.attempt) == expected
    return run


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
            for case in product(KINDS + OTHERS, PRECISIONS, (1, 2))
            if case[0] in OTHERS or case[1:] != ("fp32", 1)
        ),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    kind: str,
    precision: str,
    threads: int,
    series: Series,
    settings: tuple[str, ...],
    uninterrupted: Runs,
    tmp_path: Path,
) -> None:
    overrides = (*settings, of(precision))
    whole = uninterrupted(kind, of(precision), threads=threads)
    run = interrupt(series, kind, tmp_path, *overrides, threads=threads)
    assert differences(whole, run) == []
    newest = read_state(run / "checkpoints" / f"step-{TOTAL_STEPS:08d}")
    assert newest.identity.environment["threads"] == str(threads)

    before = snapshot(run)  # after the end, there is nothing left to do
    assert "the run is complete" in finish(kind, tmp_path, *overrides, threads=threads)
    assert snapshot(run) == before


def test_the_compared_runs_differ_from_one_another(uninterrupted: Runs) -> None:
    """Precision takes effect, dropout is on, passes differ and steps straddle them."""
    assert differences(uninterrupted("lstm", of("fp32")), uninterrupted("lstm", of("bf16")))
    without = ("model.rnn.dropout=0.0", of("fp32"))
    assert differences(uninterrupted("lstm", of("fp32")), uninterrupted("lstm", *without))
    assert TOTAL_STEPS * 6 > 3 * BLOCKS_OF_TEXT and BLOCKS_OF_TEXT % 6
    tested = {MODELS[kind]["architecture"] for kind in KINDS + OTHERS}
    assert tested == {model["architecture"] for model in MODELS.values()}


def test_with_workers_that_prepare_batches(
    settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    """Batches that were prepared but not used are not counted; masks do not depend on workers."""
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
    series = [(6, TERM, 6), (10, KILL, 8), (13, TERM, 13)]
    run = interrupt(series, "gru", tmp_path, *settings, *kept)
    assert differences(whole, run) == []
    states = [read_state(path) for path in step_directories(run / "checkpoints")]
    wanted = [read_state(path) for path in step_directories(whole / "checkpoints")]
    milestones = [s.counters.step for s in states if s.milestone]
    assert {1, 2, 4, 5, 7, 9, 10, 15} < set(milestones)
    assert milestones == [s.counters.step for s in wanted if s.milestone]
    assert sum(s.random is not None and not s.milestone for s in states) <= 2


@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm"])
def test_tied_weights_are_one_matrix_in_a_resumed_model(
    kind: str, settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    tied = TIED if kind == "lstm" else ()
    stop(kind, tmp_path, *settings, *tied)
    arguments = (kind, tmp_path, (*settings, *tied))
    assert "tied by identity" in in_child(train_checking_ties, *arguments, code=0).stderr
    assert differences(uninterrupted(kind, *(tied or (of("fp32"),))), tmp_path / "run") == []


def train_checking_ties(kind: str, directory: Path, overrides: tuple[str, ...]) -> None:
    """Resume, and inspect the model as soon as it has its weights."""
    restore = Checkpointer.restore

    def inspect(self: Checkpointer, checkpoint: Any, training: Any) -> None:
        restore(self, checkpoint, training)
        model, optimizer = training.model, training.optimizer
        head = model.hf_model.get_output_embeddings().weight
        assert model.get_input_embeddings().weight is head
        assert sum(p is head for group in optimizer.param_groups for p in group["params"]) == 1
        checkpointer.logger.info("tied by identity")

    Checkpointer.restore = inspect  # type: ignore[method-assign]
    train_with(kind, directory, overrides, None, {})


# --- the law with other optimizers ----------------------------------------------------------------


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZED))
def test_with_other_optimizers(optimizer: str, settings: tuple[str, ...], tmp_path: Path) -> None:
    own, kept, in_group = OPTIMIZED[optimizer]
    overrides, options = (*settings, *own), {"plugins": (TOY,)}
    finish("lstm", tmp_path / "whole", *overrides, **options)
    series = [(3, KILL, 0), (7, TERM, 7), (9, KILL, 8)]
    run = interrupt(series, "lstm", tmp_path, *overrides, **options)
    assert differences(tmp_path / "whole" / "run", run) == []
    keys = read_optimizer(run / "checkpoints" / "step-00000018").values.keys()
    assert {key.rpartition("/")[2] for key in keys if "embed" in key} == kept
    assert {key for key in keys if "param_groups" in key} == {
        f"param_groups/{index}/{name}" for index in range(3) for name in in_group
    }


def test_with_a_schedule_that_follows_evaluations(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    """Stopped after an evaluation, and killed after one whose step has a checkpoint before it."""
    overrides = (*settings, *PLATEAUS)
    finish("lstm", tmp_path / "whole", *overrides)
    series = [(7, TERM, 7), (9, KILL, 8), (13, KILL, 12)]
    run = interrupt(series, "lstm", tmp_path, *overrides)
    assert differences(tmp_path / "whole" / "run", run) == []
    plateau = last_counters(run).plateau
    assert (plateau.reductions, plateau.bad_evaluations) == (2, 0)


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


def test_a_carried_state_resumes_in_micro_batches_of_another_size(
    settings: tuple[str, ...], uninterrupted: Runs, tmp_path: Path
) -> None:
    still = (*STREAMS, "model.rnn.dropout=0.0")
    stop("lstm", tmp_path, *settings, *still)
    cut = ("training.per_device_train_batch_size=3", "training.gradient_accumulation_steps=2")
    finish("lstm", tmp_path, *settings, *still, *cut)
    runs = (uninterrupted("lstm", *still), tmp_path / "run")
    whole, run = ([x for x in read_metrics(r / "metrics.jsonl") if "train/loss" in x] for r in runs)
    for name in ("train/loss", "train/grad_norm"):
        assert [x[name] for x in run] == pytest.approx([x[name] for x in whole], rel=1e-4)


def test_a_checkpoint_without_the_carried_state_is_refused(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    stop("lstm", tmp_path, *settings, *STREAMS)
    arguments = (tmp_path, (*settings, *STREAMS))
    ended = in_child(resume_without_its_file, *arguments, code=CheckpointError.exit_code)
    assert "carried.safetensors: cannot be read" in ended.stderr


def resume_without_its_file(directory: Path, overrides: tuple[str, ...]) -> None:
    load = checkpointer.load_carried

    def delete_and_load(checkpoint: Path, carried: Any) -> None:
        (checkpoint / "carried.safetensors").unlink()  # after the checkpoint was verified
        load(checkpoint, carried)

    checkpointer.load_carried = delete_and_load
    train_with("lstm", directory, overrides, None, {})


# --- negative controls: state that is not restored is found, and named ----------------------------


def skip(loader: str) -> None:
    """Have a function of the checkpointer load nothing."""
    setattr(checkpointer, loader, lambda *_, **__: [])


def spoil(loader: str, change: Callable[..., object]) -> None:
    """Call `change` with the arguments of a function of the checkpointer after each call of it."""
    load = getattr(checkpointer, loader)

    def load_and_change(*arguments: Any, **named: Any) -> Any:
        found = load(*arguments, **named)
        change(*arguments)
        return found

    setattr(checkpointer, loader, load_and_change)


def spoil_generator(seed: Callable[[int], object]) -> None:
    spoil("load_random_states", lambda *_: seed(1))


def of_parameters(name: str, change: Callable[[Any], Any]) -> None:
    """Change what the optimizer keeps of each parameter under a name."""

    def spoil_state(directory: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
        for values in optimizer.state.values():
            if name in values:
                values[name] = change(values[name])

    spoil("load_optimizer", spoil_state)


def of_groups(name: str, change: Callable[[Any], Any]) -> None:
    """Change a value of each parameter group."""

    def spoil_groups(directory: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group[name] = change(group[name])

    spoil("load_optimizer", spoil_groups)


def zero(value: Any) -> Any:
    return torch.zeros_like(value)


def in_single_precision(value: float) -> float:
    return float(np.float32(value))


def zero_carried() -> None:
    def zero(directory: Path, carried: Any) -> None:
        carried.restore({name: each * 0 for name, each in carried.tensors().items()})

    spoil("load_carried", zero)


def forget(counter: str, value: Any = 0) -> None:
    """Resume with a counter set back."""
    change_state(lambda state: setattr(state, counter, value))


def forget_seen(unit: str) -> None:
    """Resume with the count of a unit set back."""
    change_state(lambda state: state.seen.update({unit: 0}))


def change_state(change: Callable[[TrainState], object]) -> None:
    state_of = ResumePoint.state

    def changed(self: ResumePoint) -> TrainState:
        state = state_of(self)
        change(state)
        return state

    ResumePoint.state = changed  # type: ignore[method-assign]


def begin_the_schedule_again() -> None:
    """Count the steps of the schedule from the checkpoint, which is of step 9."""
    rate = loop.learning_rate
    loop.learning_rate = lambda step, *arguments, **named: rate(step - 9, *arguments, **named)


def mask_each_pass_like_the_first() -> None:
    """Change the masks alone; the order of the blocks stays."""
    read = Blocks.read
    Blocks.read = lambda self, keys, **how: replace(  # type: ignore[method-assign]
        read(self, keys, **how), keys=[(0, index) for _, index in keys]
    )


# run, piece of its state, fault that is injected, part of a line that names the difference
CONTROLS: list[tuple[str, str, Callable[[], object], str]] = [
    *((run, "nothing", lambda: None, "") for run in ("lstm", "bert", "lstm with toy")),
    ("lstm", "weights", partial(skip, "load_weights"), "log, step 10: train/loss: "),
    ("lstm with streams", "carried state", zero_carried, "log, step 10: train/loss: "),
    # generators
    ("lstm", "random states", partial(skip, "load_random_states"), "model/model.safetensors: "),
    ("lstm", "Python's", partial(spoil_generator, random.seed), "18: random.python: "),
    ("lstm", "NumPy's", partial(spoil_generator, np.random.seed), "18: random.numpy: "),
    # data and schedule
    ("lstm", "position", partial(forget, "examples_seen"), " examples do not make its steps"),
    ("bert", "passes of masks", mask_each_pass_like_the_first, "step 10: train/batch_digest: "),
    ("lstm", "schedule", begin_the_schedule_again, "log, step 10: train/learning_rate: "),
    # optimizer
    ("lstm", "all of AdamW", partial(skip, "load_optimizer"), "18/optimizer.safetensors: "),
    ("lstm", "mean", partial(of_parameters, "exp_avg", zero), "/exp_avg differs"),
    ("lstm", "variance", partial(of_parameters, "exp_avg_sq", zero), "/exp_avg_sq differs"),
    ("lstm", "its step", partial(of_parameters, "step", zero), "/step differs"),
    ("lstm with momentum", "buffer", partial(of_parameters, "momentum_buffer", zero), "_buffer d"),
    ("lstm with adafactor", "rows", partial(of_parameters, "row_var", zero), "/row_var differs"),
    ("lstm with adafactor", "vectors", partial(of_parameters, "variance", zero), "/variance diff"),
    ("lstm with toy", "all of it", partial(skip, "load_optimizer"), "18/optimizer.safetensors: "),
    ("lstm with toy", "wide integers", partial(of_parameters, "signs", zero), "/signs differs"),
    ("lstm with toy", "integer", partial(of_parameters, "count", lambda n: n + 1), "/count: "),
    ("lstm with toy", "float", partial(of_parameters, "scale", in_single_precision), "/scale: "),
    ("lstm with toy", "flag", partial(of_parameters, "odd", lambda is_odd: not is_odd), "/odd: "),
    ("lstm with toy", "late number", partial(of_parameters, "late", lambda _: None), "/late: "),
    ("lstm with toy", "late tensor", partial(of_parameters, "seen", zero), "/seen differs"),
    ("lstm with toy", "group counter", partial(of_groups, "updates", lambda _: 0), "0/updates: "),
    (
        "lstm with toy",
        "its float",
        partial(of_groups, "drift", in_single_precision),
        "/drift: ",
    ),
    ("lstm with toy", "group tensor", partial(of_groups, "total", zero), "0/total differs"),
    # counters
    ("lstm", "tokens", partial(forget_seen, "tokens"), "18: counters.seen.tokens: "),
    ("lstm", "words", partial(forget_seen, "words"), "18: counters.seen.words: "),
    ("lstm", "best loss", partial(forget, "best", None), "18: counters.best.value: "),
    ("lstm with plateaus", "nothing", lambda: None, ""),
    (
        "lstm with plateaus",
        "plateaus",
        partial(forget, "plateau", Plateau()),
        "log, step 10: train/learning_rate: ",
    ),
    ("lstm", "patience", partial(forget, "evaluations_since_best"), "18: counters.evaluations_si"),
]


def train_without(
    control: int | None, directory: Path, settings: tuple[str, ...], run: str, fault: Fault | None
) -> None:
    """Train with a piece of the state left out.

    Each step draws from every generator, as a model or an objective of somebody else might.
    """
    if control is not None:
        CONTROLS[control][2]()

    def draw(point: str) -> None:
        if point.startswith("step ") and point.endswith(" made"):
            random.random()
            np.random.random()

    kind, _, special = run.partition(" with ")
    own = {"": (), "streams": STREAMS, "plateaus": PLATEAUS}.get(special)
    own = OPTIMIZED[special][0] if own is None else own
    with watching(draw):
        train_with(kind, directory, settings + own, fault, {"plugins": (TOY,)})


@pytest.fixture(scope="module")
def watched(place: Path, settings: tuple[str, ...]) -> tuple[str, ...]:
    """The settings of a run whose first evaluation stays its best."""
    # the likelier the training text becomes, the less likely is this
    (place / "unlike.txt").write_text("gwbp " * 40)
    rate, often = "training.learning_rate=0.03", "training.eval_steps=2"
    return (*settings, f"data.validation={place / 'unlike.txt'}", rate, often)


@pytest.fixture(scope="module")
def whole_and_stopped(place: Path, watched: tuple[str, ...]) -> Callable[[str], tuple[Path, Path]]:
    """Return an uninterrupted run and one that stopped after step 9; each is trained once."""
    made: dict[str, tuple[Path, Path]] = {}

    def runs(run: str) -> tuple[Path, Path]:
        if run not in made:
            made[run] = whole, stopped = place / f"{run}-whole", place / f"{run}-stopped"
            fault = Fault("step 9 made", signal=TERM)
            in_child(train_without, None, whole, watched, run, None, code=0)
            in_child(train_without, None, stopped, watched, run, fault, code=STOPPED)
        return made[run]

    return runs


@pytest.mark.parametrize(
    "control",
    [pytest.param(i, id=f"{run}-{state}") for i, (run, state, *_) in enumerate(CONTROLS)],
)
def test_state_that_is_not_restored_is_found_and_named(
    control: int,
    watched: tuple[str, ...],
    whole_and_stopped: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
) -> None:
    run, _, _, named = CONTROLS[control]
    whole, stopped = whole_and_stopped(run)
    shutil.copytree(stopped / "run", tmp_path / "run")
    in_child(train_without, control, tmp_path, watched, run, None, code=0)
    found = differences(whole / "run", tmp_path / "run")
    assert any(named in line for line in found) if named else found == [], found


def test_a_repeated_evaluation_counts_once(
    watched: tuple[str, ...],
    whole_and_stopped: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
) -> None:
    """The checkpoint that a signal leaves after an evaluation includes the evaluation."""
    whole, _ = whole_and_stopped("lstm")
    stop("lstm", tmp_path, *watched, point="step 10 evaluated")
    state = read_state(tmp_path / "run" / "checkpoints" / "step-00000010")
    assert (state.counters.evaluated_step, state.counters.evaluations_since_best) == (10, 4)
    finish("lstm", tmp_path, *watched)
    counters = last_counters(tmp_path / "run")
    assert counters == last_counters(whole / "run") and counters.evaluations_since_best == 7
