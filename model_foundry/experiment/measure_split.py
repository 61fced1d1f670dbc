"""The metrics of a model on one split of the data, or on what a limit leaves of it."""

from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from math import ceil

from model_foundry.architectures import BaseModel
from model_foundry.architectures.compilation import compilation_disabled
from model_foundry.config import ExperimentConfig, TrainingConfig
from model_foundry.data.batches.examples import ExampleSet
from model_foundry.data.batches.loaders import evaluation_batches, evaluation_streams
from model_foundry.experiment.limits import Evaluated, evaluated_examples, limit_of
from model_foundry.foundation.messages import AVERAGED
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.objectives import Prepared
from model_foundry.objectives.measure import measure
from model_foundry.training.checkpoint.sharded import is_sharded
from model_foundry.training.out_of_memory import naming_the_batch
from model_foundry.training.weight_average import WeightAverage

MIN_BATCHES = 8  # for the confidence interval, if the text has that many rows


def evaluate(
    config: ExperimentConfig,
    prepared: Prepared,
    split: Evaluated,
    model: BaseModel,
    processes: ProcessGroup = ALONE,
    *,
    average: WeightAverage | None = None,
    observing: AbstractContextManager[None] | None = None,
) -> dict[str, float]:
    """Return the same as `measure_split`, on the examples that the limits of `debug` leave.

    Args:
        average: an average of the weights, whose figures are named apart; None: there is none.
        observing: entered while the model's own weights are measured; None: nothing looks on.
    """
    examples = evaluated_examples(config, prepared, split)
    by_batches = isinstance(limit_of(config, split), int)
    given = (config, prepared, examples, model, processes)
    with observing or nullcontext():
        figures = measure_split(*given, full_batches=by_batches)
    if average is None:
        return figures
    with average.in_place():
        averaged = measure_split(*given, full_batches=by_batches)
    of_the_split = prepared.objective.details | set(examples.figures())
    own = {name: value for name, value in averaged.items() if name not in of_the_split}
    return figures | {f"{AVERAGED}{name}": value for name, value in own.items()}


def measure_split(
    config: ExperimentConfig,
    prepared: Prepared,
    split: ExampleSet,
    model: BaseModel,
    processes: ProcessGroup = ALONE,
    *,
    full_batches: bool = False,
    limit: int | None = None,
) -> dict[str, float]:
    """Return the figures of the experiment's metrics on a split, and those of its examples.

    Args:
        processes: all processes that hold the model; each calls this at the same time.
        full_batches: fill each batch, even if there are too few for a confidence interval then.
        limit: number of batches that are read; None: all.
    """
    training = config.training
    batch_size = _rows_of_a_batch(len(split), training, full=full_batches)
    shared = not is_sharded(model)
    share = {"rank": processes.rank, "world_size": processes.world_size} if shared else {}
    batches = (
        evaluation_streams(split, prepared.evaluating, **share)
        if training.carry_state
        else evaluation_batches(split, prepared.evaluating, batch_size=batch_size, **share)
    )
    evaluating = naming_the_batch(
        config, model, rows=training.eval_batch_size, when=lambda: "an evaluation", trains=False
    )
    with evaluating, compilation_disabled(model):
        figures = measure(
            model,
            islice(batches, limit),
            prepared.objective,
            carry_state=training.carry_state,
            loss_without_logits=training.speed.loss_without_logits,
            processes=processes,
            shared=shared,
        )
    return figures | split.figures()


def batches_in(
    split: ExampleSet, training: TrainingConfig, *, full_batches: bool = False
) -> int | None:
    """Return the batches of an evaluation in one process; None: they depend on the lengths of
    lanes.

    Args:
        full_batches: as for `measure_split`.
    """
    if training.carry_state:
        return None
    return ceil(len(split) / _rows_of_a_batch(len(split), training, full=full_batches))


def _rows_of_a_batch(rows: int, training: TrainingConfig, *, full: bool) -> int:
    if full:
        return training.eval_batch_size
    return max(1, min(training.eval_batch_size, rows // MIN_BATCHES))
