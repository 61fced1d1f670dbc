"""A trial of a plugin's task on one batch, before anything is trained."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
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
from model_foundry.architectures.restored import evaluation_mode, restored
from model_foundry.config import OPTIMIZERS
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import AVERAGED
from model_foundry.foundation.random_state import seeded
from model_foundry.objectives.base import Objective, Prepared
from model_foundry.objectives.forward_pass import ForwardPass, Inputs, LogitsError
from model_foundry.objectives.losses import ModelLoss
from model_foundry.objectives.measure import Metrics, merged
from model_foundry.objectives.plugin_results import (
    EXAMPLES,
    first_batch,
    parts_of,
    require_inputs,
)
from model_foundry.objectives.transform_faults import check_transformed

Update = Callable[[BaseModel], None]
ROWS_OF_TEXT = 2  # of the batch


def no_update(model: BaseModel) -> None:
    """Leave out the update of a trial."""


def check_task(model: BaseModel, prepared: Prepared, update: Update = no_update) -> None:
    """Check a model by its objective, and try a task of which a part is a plugin's.

    Args:
        update: as for `try_task`.

    Raises:
        ConfigError: the model cannot learn the task, or the trial failed; if it passes without a
            transform of the experiment, the message names that.
    """

    def check(prepared: Prepared) -> None:
        prepared.objective.check_model(model, prepared)
        try_task(model, prepared, update)

    check_transformed(check, prepared)


def try_task(model: BaseModel, prepared: Prepared, update: Update = no_update) -> None:
    """Run the model and every loss and metric on the first examples; skip one of ours on text.

    The model and the random generators are as before afterwards.

    Args:
        update: called with the model and its gradients; it must put back the weights.

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
    objective.targets(inputs)
    if not objective.spec.reads_token_stream:
        require_inputs(objective, model, objective.given(inputs))
    trial_step(model, objective.given(inputs), objective.forward)
    try_losses_and_metrics(objective, model, inputs, update)


def needs_trial(objective: Objective) -> bool:
    """Return True unless a task that reads text, its losses, metrics and optimizer are ours, and
    losses and metrics are those that it names itself.

    Of other data it depends on them which metrics can be measured.
    """
    training = objective.config.training
    parts = [*parts_of(objective), OPTIMIZERS.load(training.optimizer)]
    named = {*training.losses, *training.metrics, *training.train_metrics}
    others = named - {*objective.spec.losses, *objective.spec.metrics}
    is_changed = bool(others or training.transforms or training.keys)
    return is_changed or not (all(map(is_ours, parts)) and objective.spec.reads_token_stream)


def try_losses_and_metrics(
    objective: Objective, model: BaseModel, inputs: Inputs, update: Update
) -> None:
    """Run every loss and metric on a batch and a part of it, unless there are no targets.

    Args:
        inputs: on the device of the model.
        update: as for `try_task`.

    Raises:
        ConfigError: as for `try_task`.
    """
    targets = objective.targets(inputs)
    if not any(targets.values()):
        return
    with seeded(0), restored(model), _naming_the_model(type(model)):
        done = objective.run(model, inputs, targets)
        losses = _try_losses(objective, done)
        _require_finite(objective, type(model), done)
        with evaluation_mode(model):
            passes = [done, *_pass_of_half(objective, model, inputs)]
        best = objective.best_metric[0].removeprefix(AVERAGED)
        _try_metrics(objective, passes, objective.metric_names, best=best)
        _try_metrics(objective, passes, objective.config.training.train_metrics)
        if not isinstance(model, CountedModel):
            _require_gradients(objective, losses)
            update(model)


@contextmanager
def _naming_the_model(cls: type) -> Iterator[None]:
    """Name file and line of a plugin's model whose logits cannot be used."""
    try:
        yield
    except LogitsError as error:
        raise (error if is_ours(cls) else plugin_fault(cls, "forward", error.law)) from None


def _try_losses(objective: Objective, done: ForwardPass) -> dict[str, Tensor]:
    for name, loss in objective.losses.items():
        with plugin_method(type(loss), "mean"):
            _ = replace(done, terms={name: loss.mean}).losses
    return done.losses


def _require_finite(objective: Objective, model: type, done: ForwardPass) -> None:
    for name, value in done.losses.items():
        loss = type(objective.losses[name])
        source, method = (model, "forward") if loss is ModelLoss else (loss, "mean")
        if done.targets[name] and not is_ours(source) and not torch.isfinite(value):
            law = f"the loss {name!r} is {value.item()} on the first examples, before any update"
            raise plugin_fault(source, method, law)


def _pass_of_half(objective: Objective, model: BaseModel, inputs: Inputs) -> Iterator[ForwardPass]:
    """Yield the forward pass of half of a batch for metrics of a plugin, if it has targets."""
    number = max(map(len, inputs.values())) // 2
    half = {name: tensor[:number] for name, tensor in inputs.items()}
    if number and not all(map(is_ours, parts_of(objective))):
        targets = objective.targets(half)
        if any(targets.values()):
            yield objective.run(model, half, targets)


def _require_gradients(objective: Objective, losses: dict[str, Tensor]) -> None:
    for name, loss in losses.items():
        if not loss.requires_grad:
            problem = "has no gradient; compute it from the outputs without detach, item or no_grad"
            raise plugin_fault(type(objective.losses[name]), "mean", problem)
    torch.autograd.backward([loss.float() for loss in losses.values()])


def _try_metrics(
    objective: Objective,
    passes: Iterable[ForwardPass],
    names: Iterable[str],
    *,
    best: str | None = None,
) -> None:
    metrics = Metrics(objective, names)
    for done in passes:
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
