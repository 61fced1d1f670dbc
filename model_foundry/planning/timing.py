"""The time of a run, from a few steps, an evaluation and a checkpoint of it.

Weights are trained in memory; the checkpoint is written beside the run directory, and deleted.
"""

import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from model_foundry.architectures import BaseModel
from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.loaders import training_batches
from model_foundry.experiment.limits import evaluated_examples, limit_of, trained_examples
from model_foundry.experiment.measure_split import batches_in, measure_split
from model_foundry.experiment.resume import make_fingerprint
from model_foundry.foundation.random_state import random_states, seeded
from model_foundry.planning.disk import bytes_below
from model_foundry.planning.figures import Length, Schedule, Time
from model_foundry.planning.machine import existing_parent
from model_foundry.planning.setup import ENDLESS, Setup, carried_state
from model_foundry.training.checkpoint.optimizer_state import capture
from model_foundry.training.checkpoint.save_load import (
    ResumeTensors,
    pack_random_states,
    save_checkpoint,
)
from model_foundry.training.checkpoint.state_file import STATE_FORMAT, CheckpointState, Counters
from model_foundry.training.hooks import Training
from model_foundry.training.learner import counts
from model_foundry.training.loop import Loop
from model_foundry.training.out_of_memory import naming_the_batch
from model_foundry.training.state import TrainState
from model_foundry.training.weight_average import AverageHook, WeightAverage

WARM_UP: Final = 3  # steps, in which kernels, caches and compilers settle
SECONDS: Final = 12.0  # of measured steps, about
FEWEST_STEPS, MOST_STEPS = 5, 1000
SECONDS_OF_EVALUATION: Final = 6.0

Announce = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The measured costs of a training, in seconds."""

    warm_up: float
    """The first `WARM_UP` steps."""
    step: float
    steps: int
    """Measured steps."""
    evaluation: float
    """Of all validation data that an evaluation reads, by each model that it measures."""
    checkpoint: float
    checkpoint_bytes: int


def measure_costs(setup: Setup, announce: Announce) -> Costs:
    """Train for some seconds, evaluate and save.

    Args:
        announce: called with what is done now.

    Raises:
        ConfigError: a plugin fails.
        MemoryExhaustedError: the model and a batch do not fit into memory.
        SaveError: the checkpoint cannot be written.
    """
    with seeded(setup.config.seeds.dropout):
        model = setup.new_model()
        average = setup.average(model)
        training, warm_up, step, steps = _time_steps(setup, model, average, announce)
    measured = 1 if average is None else 2  # as many models
    evaluation = measured * _time_evaluation(setup, training, announce)
    announce("measuring: a checkpoint")
    checkpoint, size = _time_checkpoint(setup, training, average)
    return Costs(
        warm_up=warm_up,
        step=step,
        steps=steps,
        evaluation=evaluation,
        checkpoint=checkpoint,
        checkpoint_bytes=size,
    )


def _time_steps(
    setup: Setup, model: BaseModel, average: WeightAverage | None, announce: Announce
) -> tuple[Training, float, float, int]:
    """Return a training after some steps, the seconds of the first ones, those of each further
    one, and the number of these."""
    context, prepared = setup.context(_at_rest(setup.config)), setup.prepared
    naming = naming_the_batch(
        setup.config, model, rows=context.split.micro_batch, when=lambda: "a measured step"
    )
    batches = training_batches(
        trained_examples(setup.config, prepared),
        prepared.collate,
        context.split,
        seed=setup.config.seeds.data,
        workers=setup.config.training.dataloader_num_workers,
        streams=prepared.objective.streams,
        passes=setup.config.training.epochs if counts(context) else None,
    )
    with closing(batches), naming:
        loop = Loop(
            model,
            prepared.objective,
            batches,
            context=context,
            hooks=[] if average is None else [AverageHook(average)],
            units=prepared.train.units,
            carried=carried_state(model, context),
        )

        def run_to(step: int) -> float:
            announce(f"measuring: step {step}")
            begun = time.perf_counter()
            loop.run(until=step)
            _wait(context.accelerator.device)
            return time.perf_counter() - begun

        warm_up, steps, seconds, more = run_to(WARM_UP), 0, 0.0, 1
        while steps < FEWEST_STEPS or (seconds < SECONDS and steps < MOST_STEPS):
            seconds += run_to(WARM_UP + steps + more)
            steps += more
            if seconds < SECONDS / 4:  # a GPU is waited for after each call
                more *= 2
    return loop.training, warm_up, seconds / steps, steps


def _at_rest(config: ExperimentConfig) -> ExperimentConfig:
    """Return the experiment with a warm-up without end, so that no measured step can diverge."""
    training = config.training.model_copy(update={"warmup_steps": ENDLESS})
    return config.model_copy(update={"training": training})


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _time_evaluation(setup: Setup, training: Training, announce: Announce) -> float:
    """Return the seconds of an evaluation, scaled from a part of it if it is long."""
    config, prepared = setup.config, setup.prepared
    data = evaluated_examples(config, prepared, "validation")
    full = isinstance(limit_of(config, "validation"), int)
    whole = batches_in(data, config.training, full_batches=full)

    def seconds_of(batches: int | None) -> float:
        announce("measuring: an evaluation")
        begun = time.perf_counter()
        measure_split(config, prepared, data, training.model, full_batches=full, limit=batches)
        _wait(setup.accelerator.device)
        return time.perf_counter() - begun

    if whole is None:
        return seconds_of(None)
    first = seconds_of(1)
    batches = max(1, min(whole, int(SECONDS_OF_EVALUATION / first)))
    return seconds_of(batches) / batches * whole


def _time_checkpoint(
    setup: Setup, training: Training, average: WeightAverage | None
) -> tuple[float, int]:
    """Return the seconds that a checkpoint takes, and its bytes."""
    beside = existing_parent(setup.config.output_dir)
    with tempfile.TemporaryDirectory(prefix=".foundry-plan-", dir=beside) as place:
        directory = Path(place) / "step-00000001"
        begun = time.perf_counter()
        model, optimizer = training.model, training.optimizer
        state = training.context.state
        write_checkpoint(setup, model, optimizer, state, directory, average)
        return time.perf_counter() - begun, bytes_below(directory)


def write_checkpoint(
    setup: Setup,
    model: BaseModel,
    optimizer: torch.optim.Optimizer | None,
    state: TrainState,
    directory: Path,
    average: WeightAverage | None = None,
) -> None:
    """Write a checkpoint as a run does.

    Args:
        optimizer: None: the model learns by counting.
        average: of the weights; None: there is none.
    """
    random, values = pack_random_states([random_states()])
    facts = CheckpointState(
        format=STATE_FORMAT,
        run_id=uuid.uuid4().hex,
        attempt=1,
        milestone=False,
        timed=False,
        counters=Counters.model_validate(state),
        identity=make_fingerprint(setup.config, setup.prepared, setup.accelerator.device),
        random=values[0],
        scaler=None,
    )
    moments = None if optimizer is None else capture(model, optimizer)
    averaged = {} if average is None else average.tensors()
    tensors = ResumeTensors(optimizer=moments, random=random, average=averaged)
    save_checkpoint(directory, model, setup.prepared.processors, facts, tensors)


def estimate_time(
    costs: Costs,
    length: Length,
    schedule: Schedule,
    *,
    start: float,
    tested: int,
    models: int,
) -> Time:
    """Add up the time of a run.

    Args:
        start: seconds from the start of a command to its first step.
        tested: examples of the test data that are read; 0: there are none.
        models: final models, which take as long to save as a checkpoint.
    """
    steps = max(0, length.steps - WARM_UP)
    training = costs.warm_up * min(1.0, length.steps / WARM_UP) + steps * costs.step
    shares = len(schedule.evaluations) + tested / max(1, length.evaluated)
    evaluations = shares * costs.evaluation
    saved = len({*schedule.checkpoints, *schedule.milestones}) + models
    checkpoints = saved * costs.checkpoint
    return Time(
        start=start,
        step=costs.step,
        steps_measured=costs.steps,
        evaluation=costs.evaluation,
        checkpoint=costs.checkpoint,
        training=training,
        evaluations=evaluations,
        checkpoints=checkpoints,
        in_all=start + training + evaluations + checkpoints,
    )
