"""The examples that a run reads under the limits of `debug`."""

from typing import Final, Literal

import numpy as np

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.examples import ExampleSet
from model_foundry.data.batches.subset import Subset, drawn
from model_foundry.evaluation.synthetic_language import PAIRS
from model_foundry.objectives import Prepared

Evaluated = Literal["validation", "test"]
MEASURED_AS: Final[dict[Evaluated, str]] = {"validation": "eval", "test": "test"}
"""The beginning of the names of the figures of a split."""


def trained_examples(config: ExperimentConfig, prepared: Prepared) -> ExampleSet:
    """Return the examples that training reads."""
    rows, debug = config.training.rows_per_step, config.debug
    number = _number(debug.limit_train, of=len(prepared.train), batch=rows, least=rows)
    return _some(config, prepared, prepared.train, number, first_pass=debug.fixed_draws)


def examples_per_pass(config: ExperimentConfig, prepared: Prepared) -> int:
    """Return the number of examples that one pass of training reads."""
    return prepared.objective.examples_per_pass(len(trained_examples(config, prepared)))


def evaluated_examples(
    config: ExperimentConfig, prepared: Prepared, split: Evaluated
) -> ExampleSet:
    """Return the examples that an evaluation on a split reads; there must be such a split."""
    examples, batch = prepared.splits[split], config.training.eval_batch_size
    number = _number(limit_of(config, split), of=len(examples), batch=batch)
    return _some(config, prepared, examples, number)


def limit_of(config: ExperimentConfig, split: Evaluated) -> int | float | None:
    """Return the limit of an evaluation: batches, or a share; None: there is none."""
    debug = config.debug
    return debug.limit_validation if split == "validation" else debug.limit_test


def minimal_pairs_of(config: ExperimentConfig) -> int:
    """Return the minimal pairs of each phenomenon on which a model of the language is measured."""
    return _number(config.debug.limit_test, of=PAIRS, batch=config.training.eval_batch_size)


def limited_splits(config: ExperimentConfig, prepared: Prepared) -> dict[str, str]:
    """Return what is read of each split that a limit cuts, in words, as `train`, `eval`, `test`."""
    read = {"train": (trained_examples(config, prepared), prepared.train)}
    for split, name in MEASURED_AS.items():
        if split in prepared.splits:
            read[name] = evaluated_examples(config, prepared, split), prepared.splits[split]
    return {
        name: f"{len(some):,} of {len(examples):,} examples"
        for name, (some, examples) in read.items()
        if len(some) < len(examples)
    }


def _number(limit: int | float | None, *, of: int, batch: int, least: int = 1) -> int:
    """Return the number of examples under a limit."""
    if limit is None:
        return of
    asked = limit * batch if isinstance(limit, int) else max(least, round(limit * of))
    return min(of, asked)


def _some(
    config: ExperimentConfig,
    prepared: Prepared,
    examples: ExampleSet,
    number: int,
    *,
    first_pass: bool = False,
) -> ExampleSet:
    is_whole = number == len(examples)
    if is_whole and not first_pass:
        return examples
    if is_whole or prepared.objective.streams:  # where each row continues the one before it
        chosen = np.arange(number)
    else:
        chosen = drawn(number, of=len(examples), seed=config.seeds.split)
    return Subset(examples, chosen, first_pass=first_pass)
