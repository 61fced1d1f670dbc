"""One optimizer update from the micro-batches of a step.

Its loss is the sum over all valid labels of its micro-batches, on all processes, divided by their
number; how the step is cut up therefore does not matter. Nothing here waits for a GPU.
"""

import logging
import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.tensor import DTensor

from model_foundry.architectures import ModelOutput
from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives import Objective
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult
from model_foundry.training.profiler.profile import phase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labels:
    """How many labels a step has to learn from."""

    own: list[int]
    """Valid labels of each micro-batch of this process."""
    total: int
    """Those of all processes."""

    @classmethod
    def of(cls, micro_batches: list[Batch], objective: Objective) -> "Labels":
        """Count those of a step that one process takes alone."""
        own = [int(objective.scored(batch.inputs["labels"]).sum()) for batch in micro_batches]
        return cls(own, sum(own))


def take_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: list[Batch],
    *,
    objective: Objective,
    learning_rate: float,
    max_grad_norm: float | None,
    accelerator: Accelerator,
    step: int,
    carried: CarriedState | None = None,
    labels: Labels | None = None,
    finiteness: NonFiniteGuard | None = None,
    arguments: dict[str, Any] | None = None,
) -> StepResult:
    """Make one update from the micro-batches of this process.

    Args:
        max_grad_norm: largest global norm of the gradient; None: no bound.
        step: updates made before, for messages.
        carried: the states that the rows go on from, which are replaced by those after them; None:
            rows stand alone.
        labels: None: they are counted here, and this process is alone.
        finiteness: sees to it that no update is made from what is not finite; None: this step is
            looked at by itself, and at once.
        arguments: what the model is told beside its inputs; None: nothing.

    Raises:
        NonFiniteError: the loss or the gradient is not finite; the update was not made.
    """
    if not model.training:
        model.train()
    labels = labels or Labels.of(micro_batches, objective)
    finiteness = finiteness or NonFiniteGuard(at_once=True, scaled=accelerator.scaler is not None)
    read = _Reader(model, accelerator.device, carried, arguments or {})
    if labels.total == 0:
        read.without_learning(micro_batches)
        logger.warning("step %d has no label to learn from; its update is left out", step + 1)
        return StepResult(torch.zeros(()), torch.zeros(()), labels.own)
    summed = _accumulate(read, micro_batches, labels, accelerator)
    # The norm is returned as it was before clipping; without a bound nothing is scaled.
    with phase("gradient norm"):
        norm: Tensor = accelerator.clip_grad_norm_(
            model.parameters(), math.inf if max_grad_norm is None else max_grad_norm
        )
    if isinstance(norm, DTensor):  # of weights that are divided among processes
        norm = norm.full_tensor()
    result = StepResult(accelerator.reduce(summed, "sum"), norm, labels.own)
    finiteness.watch(step + 1, result, micro_batches, learning_rate)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return result


def _accumulate(
    read: "_Reader", micro_batches: list[Batch], labels: Labels, accelerator: Accelerator
) -> Tensor:
    """Add up the gradients of a step; return this process's part of its loss."""
    processes, last = accelerator.num_processes, len(micro_batches) - 1
    summed = torch.zeros((), device=accelerator.device)
    for slot, (batch, count) in enumerate(zip(micro_batches, labels.own, strict=True)):
        if count == 0 and processes == 1:  # the mean over no labels is undefined, its sum zero
            read.without_learning([batch], slot)
            continue
        # processes exchange gradients once, after the last micro-batch
        with nullcontext() if slot == last else accelerator.no_sync(read.model):
            # without a label all take part in the exchange all the same
            loss = _loss_of(read(batch if count else _labelled(batch), slot))
            loss = loss * (count / labels.total)
            # DDP averages gradients over the processes, which the factor undoes
            with phase("backward"):
                accelerator.backward(loss * processes if processes > 1 else loss)
        summed += loss.detach()
    return summed


def _labelled(batch: Batch) -> Batch:
    """Return a batch with labels of some kind, so that its loss is defined; it is weighted by 0."""
    labels = torch.full_like(batch.inputs["labels"], IGNORE_INDEX)
    ids = batch.inputs["input_ids"]
    labels[:, : ids.shape[1]] = ids
    return replace(batch, inputs={**batch.inputs, "labels": labels})


class _Reader:
    """Runs the model on micro-batches.

    Args:
        model: as Accelerate has prepared it.
        arguments: what it is told beside its inputs.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        carried: CarriedState | None,
        arguments: dict[str, Any],
    ) -> None:
        self.model, self.device, self.carried = model, device, carried
        self.arguments = arguments

    def __call__(self, batch: Batch, slot: int) -> ModelOutput:
        inputs: dict[str, Any] = {
            name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.inputs.items()
        }
        if self.carried is not None:
            inputs |= self.carried.arguments(slot, batch)
        with phase("forward"):
            output: ModelOutput = self.model(**inputs, **self.arguments)
        if self.carried is not None:
            self.carried.keep(slot, output)
        return output

    def without_learning(self, micro_batches: list[Batch], first: int = 0) -> None:
        """Let the text go on behind micro-batches that have no label."""
        if self.carried is not None:
            with torch.no_grad():
                for slot, batch in enumerate(micro_batches, first):
                    self(batch, slot)


def _loss_of(output: ModelOutput) -> Tensor:
    if output.loss is None:
        raise ConfigError(
            "model.architecture: the model was given labels and returned no loss; mend its forward"
        )
    return output.loss
