"""The length of a run in its units."""

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.experiment.limits import evaluated_examples, examples_per_pass
from model_foundry.experiment.run_length import steps_per_epoch, total_steps
from model_foundry.objectives import Prepared
from model_foundry.planning.figures import Length


def plan_length(config: ExperimentConfig, prepared: Prepared) -> Length:
    """Return the length of a run.

    Raises:
        ConfigError: the warm-up is longer than the epochs.
        DataError: there are fewer blocks than a step of streams needs.
    """
    training = config.training
    examples = examples_per_pass(config, prepared)
    steps, rows = total_steps(config, examples=examples), training.rows_per_step
    per_example = _per_example(prepared)
    is_row = isinstance(prepared.train, TokenExamples)
    return Length(
        steps=steps,
        examples_per_step=rows,
        examples=examples,
        passes=steps * rows / examples,
        first_epoch=steps_per_epoch(config, examples=examples),
        per_step={unit: number * rows for unit, number in per_example.items()},
        in_all={unit: round(number * steps * rows) for unit, number in per_example.items()},
        row=config.data.max_sequence_length if is_row else None,
        evaluated=len(evaluated_examples(config, prepared, "validation")),
    )


def _per_example(prepared: Prepared) -> dict[str, float]:
    """Return what a training example holds on average, by unit.

    All examples are counted, those beyond the limits of `debug` included. The words of tokens that
    no pass reads are taken to be as many as elsewhere.
    """
    examples = prepared.train
    totals = {unit: float(examples.totals.get(unit, 0)) for unit in examples.units}
    if isinstance(examples, TokenExamples) and totals["tokens"]:
        share = 1 - examples.left_over / totals["tokens"]
        totals = {unit: number * share for unit, number in totals.items()}
    whole = prepared.objective.examples_per_pass(len(examples))
    return {unit: number / whole for unit, number in totals.items() if number}
