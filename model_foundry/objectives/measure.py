"""The metrics of a model on examples, accumulated exactly over batches and processes."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_foundry.architectures import BaseModel, device_of
from model_foundry.architectures.plugin_check import plugin_fault, plugin_method
from model_foundry.architectures.restored import evaluation_mode
from model_foundry.config import METRICS
from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.objectives.base import Objective
from model_foundry.objectives.forward_pass import ForwardPass, in_double
from model_foundry.objectives.metrics import Metric, Sums

logger = logging.getLogger(__name__)

PENDING = 64  # batches whose figures stay on the device, since each copy waits for it


class Accumulator:
    """A sum of arrays in double precision, in the order in which they are added."""

    def __init__(self, total: Sums | None = None) -> None:
        self._total = total
        self._pending: list[Tensor] = []

    def add(self, figures: Tensor) -> None:
        """Add the figures of a batch."""
        self._pending.append(in_double(figures.detach()))
        if len(self._pending) >= PENDING:
            self.total()

    def total(self) -> Sums | None:
        """Return the sum; None: nothing was added."""
        if self._pending:
            for figures in torch.stack(self._pending).cpu().numpy():
                self._total = figures if self._total is None else self._total + figures
            self._pending.clear()
        return self._total


class Metrics:
    """Some metrics of an objective, by name, with their sums so far."""

    def __init__(self, objective: Objective, names: Iterable[str]) -> None:
        self.objective = objective
        self.metrics: dict[str, Metric] = {name: METRICS.load(name)(objective) for name in names}
        self._shapes: dict[str, torch.Size] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all sums."""
        self.sums = {name: Accumulator() for name in self.metrics}

    @property
    def needs_logits(self) -> bool:
        """True if a metric reads the logits."""
        return any(METRICS[name].needs_logits for name in self.metrics)

    @torch.no_grad()
    def add(self, done: ForwardPass) -> None:
        """Add a forward pass."""
        for name, metric in self.metrics.items():
            with plugin_method(type(metric), "sums"):
                figures = metric.sums(done.read_by(name))
            if not isinstance(figures, Tensor):
                law = f"must return a tensor, got {short_repr(figures)}"
                raise plugin_fault(type(metric), "sums", law)
            if figures.shape != self._shapes.setdefault(name, figures.shape):
                shapes = f"{tuple(self._shapes[name])} and {tuple(figures.shape)}"
                law = f"{name!r} gives sums of the shapes {shapes}, which cannot be added"
                raise plugin_fault(type(metric), "sums", f"{law}; give all batches one shape")
            self.sums[name].add(figures)

    def state(self) -> dict[str, Any]:
        """Return the sums of this process as plain data; {}: there are none."""
        totals = {name: sums.total() for name, sums in self.sums.items()}
        return {name: total.tolist() for name, total in totals.items() if total is not None}

    def restore(self, states: Sequence[Mapping[str, Any]], processes: ProcessGroup) -> None:
        """Set the sums to those of all processes, however many there were."""
        self.reset()
        own = states[processes.rank :: processes.world_size]
        for name in self.metrics:
            for state in own:
                if name in state:
                    self.sums[name].add(torch.tensor(state[name], dtype=torch.float64))

    def figures(self, processes: ProcessGroup = ALONE, *, counts: bool = True) -> dict[str, float]:
        """Return the figures over all batches of all processes; {}: there were none.

        Args:
            counts: False if the sums of this process repeat those of another.

        Raises:
            ConfigError: a metric is no number, or two metrics give one figure.
        """
        return merged(self.results(processes, counts=counts))

    def results(
        self, processes: ProcessGroup = ALONE, *, counts: bool = True
    ) -> dict[str, dict[str, float]]:
        """Return the same by metric, without those that have no sums.

        Raises:
            ConfigError: a metric is no number.
        """
        own = {name: sums.total() if counts else None for name, sums in self.sums.items()}
        shares = processes.all_gather(own)
        results: dict[str, dict[str, float]] = {}
        for name, metric in self.metrics.items():
            known = [total for share in shares if (total := share[name]) is not None]
            if known:
                with plugin_method(type(metric), "result"):
                    result = metric.result(sum(known[1:], start=known[0]))
                results[name] = _named(name, type(metric), result)
        return results


def _named(name: str, cls: type, result: float | Mapping[str, float]) -> dict[str, float]:
    figures = result if isinstance(result, Mapping) else {name: result}
    for key, value in figures.items():
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            law = f"gives {key!r} the value {short_repr(value)}, which is no number"
            raise plugin_fault(cls, "result", f"{law}; return a float")
        if not isinstance(key, str):
            raise plugin_fault(cls, "result", f"names a figure {key!r}; give it a text as name")
    return {key: v.item() if isinstance(v, np.number) else v for key, v in figures.items()}


def merged(results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the figures of all metrics.

    Raises:
        ConfigError: two metrics give one figure.
    """
    figures: dict[str, float] = {}
    givers: dict[str, str] = {}
    for name, result in results.items():
        for key in result:
            if (other := givers.setdefault(key, name)) != name:
                law = f"{other!r} and {name!r} both give the figure {key!r}"
                remedy = "name it differently in one of their result methods"
                raise ConfigError(f"training.metrics: {law}; {remedy}, or leave one out")
        figures |= result
    return figures


def measure(
    model: BaseModel,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    carry_state: bool = False,
    loss_without_logits: bool = True,
    processes: ProcessGroup = ALONE,
    shared: bool = True,
) -> dict[str, float]:
    """Measure a model on all batches; each target has the same weight, in any batching.

    Args:
        carry_state: continue from the state of the previous batch, unless a batch begins.
        loss_without_logits: use `return_logits=False` if model and metrics allow it.
        processes: the processes that measure the model together.
        shared: True if each process has its own batches. If not, each has all of them, as with
            sharded weights, which need every process in each forward pass.

    Returns:
        The figures of the experiment's metrics, the same in every process; {}: none is defined
        on these examples.

    Raises:
        DataError: there is no target.
        Interrupted: a signal came, and there is one process; several stop at the next step.
    """
    metrics = Metrics(objective, objective.metric_names)
    alone = loss_without_logits and model.computes_loss_alone
    alone = alone and not (objective.needs_logits or metrics.needs_logits)
    if processes.world_size == 1:
        batches = _interruptible(batches)
    with evaluation_mode(model):
        arguments = {"return_logits": False} if alone else {}
        for done in _passes(model, batches, objective, arguments, carry_state=carry_state):
            metrics.add(done)
    results = metrics.results(processes, counts=shared or processes.is_rank0)
    if not results:
        raise DataError("no example has a target, so there is nothing to measure")
    _warn_of_undefined(objective, results)
    return merged(results)


def _warn_of_undefined(objective: Objective, results: Mapping[str, Mapping[str, float]]) -> None:
    """Warn of metrics without a finite figure, once for each."""
    for name, figures in results.items():
        bad = [f"{key} {value}" for key, value in figures.items() if not math.isfinite(value)]
        if (figures and not bad) or name in objective.undefined:
            continue
        objective.undefined.add(name)
        found = f"is not finite on these examples ({', '.join(bad)})" if bad else "gives no figure"
        decides = (
            " (without it no checkpoint is the best)" if name == objective.best_metric[0] else ""
        )
        logger.warning(
            "training.metrics: %r %s%s; correct it, or leave it out", name, found, decides
        )


def _interruptible(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        check_interrupt()
        yield batch


def _passes(
    model: BaseModel,
    batches: Iterable[Batch],
    objective: Objective,
    arguments: dict[str, Any],
    *,
    carry_state: bool,
) -> Iterator[ForwardPass]:
    """Yield the forward pass of each batch that has targets."""
    device = device_of(model)
    state: dict[str, Tensor] = {}
    for batch in batches:
        targets = objective.targets(batch.inputs)
        has_targets = any(targets.values())
        if not has_targets and not carry_state:
            continue
        inputs = {
            name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()
        }
        carried = _carried_arguments(model, batch, state) if carry_state else {}
        done = objective.run(model, inputs, targets, **arguments, **carried)
        if carry_state:
            state = model.state_tensors(done.output.past_key_values)
        if has_targets:
            yield done


def _carried_arguments(
    model: BaseModel, batch: Batch, state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return the arguments that continue from the state of the previous batch."""
    if batch.begins:
        return {"use_cache": True}
    rows = len(batch.keys)  # lanes that have ended were the last rows
    past = model.state_from({name: tensor[:rows] for name, tensor in state.items()})
    return {"use_cache": True, "past_key_values": past}
