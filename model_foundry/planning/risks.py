"""The faults and the waste that a run is going to have, each with its figure and a remedy."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from model_foundry.config import ExperimentConfig
from model_foundry.corpus_report.counts import count_ids
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.foundation.messages import size_of_bytes
from model_foundry.planning.figures import Plan, Risk, Vocabulary

FEW_CHECKPOINTS: Final = 2  # the newest, and one more if it is damaged
RARE: Final = 10  # times; a vector that is updated less often stays close to its random beginning
MANY_RARE: Final = 1 / 3  # of the entries
SMALL_VOCABULARY: Final = 300  # entries; one of bytes alone has 256
LARGE_TABLE: Final = 0.5  # of the parameters
MOST_PASSES: Final = 4
"""Repeated data are worth nearly as much as new ones up to four passes (Muennighoff et al. 2023,
arXiv:2305.16264)."""
LONG_WARM_UP: Final = 0.5  # of the steps
LONG_EVALUATION: Final = 0.5  # of the time


def count_vocabulary(stream: TokenStream, tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """Count the entries that the training text never or rarely has."""
    numbers = tokenizer.get_vocab().values()
    counts = count_ids(stream, 1 + max(numbers))
    ordinary = sorted({*numbers} - {*tokenizer.all_special_ids})
    seen = counts[np.array(ordinary, np.int64)]
    return Vocabulary(
        ordinary=len(ordinary), never=int((seen == 0).sum()), rare=int((seen < RARE).sum())
    )


def risks_of(plan: Plan, config: ExperimentConfig, positions: int | None) -> list[Risk]:
    """Return the risks of a run.

    Args:
        positions: positions that the model can tell apart; None: any number.
    """
    return [
        *_of_memory(plan, config),
        *_of_disk(plan, config),
        *_of_vocabulary(plan),
        *_of_parameters(plan, positions),
        *_of_length(plan, config),
        *_of_milestones(plan, config),
        *_of_time(plan),
    ]


def _of_memory(plan: Plan, config: ExperimentConfig) -> Iterator[Risk]:
    memory, needed = plan.memory, plan.memory.growth
    least = memory.weights + memory.gradients
    figure, remedy = f"more than {size_of_bytes(least)}", "make the model smaller"
    if needed is not None:
        figure, remedy = size_of_bytes(needed), _smaller_batch(plan, config)
    if memory.installed is not None and (needed or least) > memory.installed:
        there, certain = f"the device has {size_of_bytes(memory.installed)}", True
    elif memory.available is not None and (needed is None or needed > memory.available):
        there, certain = f"{size_of_bytes(memory.available)} are free", False
    else:
        return
    untried = "" if needed is not None else ", so that no step could be tried"
    text = f"the run needs {figure} of memory and {there}{untried}: {remedy}"
    yield Risk(name="memory", text=text, certain=certain)


def _smaller_batch(plan: Plan, config: ExperimentConfig) -> str:
    batch = plan.largest_batch
    if batch is None or not batch.dividing or batch.dividing >= plan.memory.rows:
        return "make the model smaller"
    return (
        f"set training.per_device_train_batch_size={batch.dividing} "
        f"training.gradient_accumulation_steps={batch.passes} (the same global batch)"
    )


def _of_disk(plan: Plan, config: ExperimentConfig) -> Iterator[Risk]:
    disk, limit = plan.disk, config.training.save_total_limit
    if disk.free is None or disk.in_all - disk.present <= disk.free:
        return
    there = f", of which {size_of_bytes(disk.present)} are there," if disk.present else ""
    lower = disk.kept > FEW_CHECKPOINTS and (limit is None or limit > FEW_CHECKPOINTS)
    setting = f"set training.save_total_limit={FEW_CHECKPOINTS}, or " if lower else ""
    if disk.checkpoint > disk.free:
        setting = "make the model smaller, or "
    yield Risk(
        name="disk",
        text=f"checkpoints and model need {size_of_bytes(disk.in_all)}{there} and "
        f"{size_of_bytes(disk.free)} are free: {setting}write elsewhere (output_dir)",
        certain=True,
    )


def _of_vocabulary(plan: Plan) -> Iterator[Risk]:
    known = plan.vocabulary
    if known is None or not known.ordinary or known.rare / known.ordinary <= MANY_RARE:
        return
    common, remedy = known.ordinary - known.rare, "use more text"
    if common >= SMALL_VOCABULARY:
        remedy = f"lower tokenizer.vocab_size to about {common:,}, or {remedy}"
    yield Risk(
        name="vocabulary",
        text=f"the training text has {known.rare:,} of {known.ordinary:,} entries of the "
        f"vocabulary fewer than {RARE} times, {known.never:,} of them never: {remedy}",
        certain=False,
    )


def _of_parameters(plan: Plan, positions: int | None) -> Iterator[Risk]:
    counted, row = plan.parameters, plan.length.row
    if counted.embeddings > LARGE_TABLE * counted.total:
        yield Risk(
            name="embeddings",
            text=f"embeddings are {counted.embeddings / counted.total:.0%} of the parameters: "
            "lower tokenizer.vocab_size, or make the layers larger",
            certain=False,
        )
    if row is not None and positions is not None and positions > row:
        yield Risk(
            name="positions",
            text=f"the model has {positions:,} positions and rows have {row:,}: the last "
            f"{positions - row:,} are never trained; raise data.max_sequence_length, or leave "
            "max_position_embeddings out",
            certain=False,
        )


def _of_length(plan: Plan, config: ExperimentConfig) -> Iterator[Risk]:
    length, warm_up = plan.length, config.training.warmup_steps
    if length.examples_per_step > length.examples:
        yield Risk(
            name="batch",
            text=f"a step reads {length.examples_per_step:,} examples and there are "
            f"{length.examples:,} for training: make the batch smaller, or use more data",
            certain=False,
        )
    if warm_up > LONG_WARM_UP * length.steps:
        yield Risk(
            name="warm-up",
            text=f"training.warmup_steps (={warm_up:,}) takes {warm_up / length.steps:.0%} of the "
            f"{length.steps:,} steps: lower it; a tenth is usual",
            certain=False,
        )
    if length.passes > MOST_PASSES:
        yield Risk(
            name="passes",
            text=f"the run reads the data {length.passes:.1f} times: beyond {MOST_PASSES} passes "
            "repeated data are worth less and less (arXiv:2305.16264); use more data, fewer "
            "steps, or watch the validation loss",
            certain=False,
        )


def _of_milestones(plan: Plan, config: ExperimentConfig) -> Iterator[Risk]:
    asked, length = config.training.milestones.first_epoch, plan.length
    if asked is None:
        return
    setting, epoch = f"training.milestones.first_epoch (={asked:,})", length.first_epoch
    if asked > epoch:
        text = f"{setting} is more than the {epoch:,} steps of an epoch: each step is saved"
    elif length.steps < epoch:
        reached = asked * length.steps // epoch
        text = f"{setting} leaves {reached:,}: the run ends after {length.steps:,} of the "
        text += f"{epoch:,} steps of an epoch; `logarithmic` or `steps` count steps"
    else:
        return
    yield Risk(name="milestones", text=text, certain=False)


def _of_time(plan: Plan) -> Iterator[Risk]:
    spent = plan.time
    if spent is None or spent.evaluations <= LONG_EVALUATION * spent.in_all:
        return
    yield Risk(
        name="evaluation",
        text=f"evaluations take {spent.evaluations / spent.in_all:.0%} of the time: raise "
        "training.eval_steps, or hold out less (data.validation_fraction)",
        certain=False,
    )
