"""A trial of a plugin's task on one batch, before anything is trained."""

from collections.abc import Collection, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from model_foundry.architectures import BaseModel, CountedModel, device_of
from model_foundry.architectures.plugin_check import (
    is_ours,
    plugin_fault,
    plugin_method,
    trial_step,
)
from model_foundry.architectures.restored import restored
from model_foundry.config import METRICS
from model_foundry.errors import ConfigError
from model_foundry.foundation.random_state import seeded
from model_foundry.objectives.base import Objective, Prepared
from model_foundry.objectives.forward_pass import ForwardPass, Inputs
from model_foundry.objectives.measure import Metrics, merged
from model_foundry.objectives.plugin_results import EXAMPLES, first_batch, require_inputs

ROWS_OF_TEXT = 2  # of the batch


def check_task(model: BaseModel, prepared: Prepared) -> None:
    """Check a model by its objective, and try a task of which a part is a plugin's.

    Raises:
        ConfigError: the model cannot learn the task, or the trial failed.
    """
    prepared.objective.check_model(model, prepared)
    try_task(model, prepared)


def try_task(model: BaseModel, prepared: Prepared) -> None:
    """Run the model and every loss and metric on the first examples; skip a task that is ours.

    The model and the random generators are as before afterwards.

    Raises:
        ConfigError: a part raises or gives nothing usable, or the metric that decides which
            checkpoint is the best gives no figure of its name.
    """
    objective = prepared.objective
    if not needs_trial(objective):
        return
    number = ROWS_OF_TEXT if objective.spec.reads_token_stream else EXAMPLES
    batch = first_batch(prepared, number)
    inputs = {name: tensor.to(device_of(model)) for name, tensor in batch.items()}
    objective.count_targets(inputs)
    if not objective.spec.reads_token_stream:
        require_inputs(objective, model, objective.given(inputs))
    trial_step(model, objective.given(inputs), objective.forward)
    try_losses_and_metrics(objective, model, inputs)


def needs_trial(objective: Objective) -> bool:
    """Return True if a task, or one of its losses and metrics, is a plugin's."""
    names = (*objective.metric_names, *objective.config.training.train_metrics)
    classes = [*map(type, objective.losses.values()), *map(METRICS.load, names)]
    return not all(map(is_ours, [type(objective), *classes]))


def try_losses_and_metrics(objective: Objective, model: BaseModel, inputs: Inputs) -> None:
    """Run every loss and metric on a batch, unless it has no targets.

    Args:
        inputs: on the device of the model.

    Raises:
        ConfigError: as for `try_task`.
    """
    targets = objective.targets(inputs)
    if not any(targets.values()):
        return
    with seeded(0), restored(model):
        done = objective.run(model, inputs, targets)
        losses = _try_losses(objective, done)
        _try_metrics(objective, done, objective.metric_names, best=objective.best_metric[0])
        _try_metrics(objective, done, objective.config.training.train_metrics)
        if not isinstance(model, CountedModel):
            _require_gradients(objective, losses)


def _try_losses(objective: Objective, done: ForwardPass) -> dict[str, Tensor]:
    for name, loss in objective.losses.items():
        with plugin_method(type(loss), "mean"):
            _ = replace(done, terms={name: loss.mean}).losses
    return done.losses


def _require_gradients(objective: Objective, losses: dict[str, Tensor]) -> None:
    for name, loss in losses.items():
        if not loss.requires_grad:
            problem = "has no gradient; compute it from the outputs without detach, item or no_grad"
            raise plugin_fault(type(objective.losses[name]), "mean", problem)
    torch.autograd.backward([loss.float() for loss in losses.values()])


def _try_metrics(
    objective: Objective, done: ForwardPass, names: Iterable[str], *, best: str | None = None
) -> None:
    metrics = Metrics(objective, names)
    metrics.add(done)
    results = metrics.results()
    merged(results)
    if best in results:
        shown = results[best].keys() - set(metrics.metrics[best].details)
        if shown and best not in shown:
            raise ConfigError(_nameless(best, sorted(shown)))


def _nameless(best: str, figures: Collection[str]) -> str:
    given = ", ".join(map(repr, figures))
    return (
        f"training.metrics: {best!r} decides which checkpoint is the best, but its result method "
        f"returns a mapping of {given} only; add {best!r} to it, or set "
        "training.metric_for_best_model to another metric"
    )
