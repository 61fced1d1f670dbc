"""One optimizer update from the micro-batches of a step.

The loss of a step is the sum over the valid labels of all its micro-batches, on all processes,
divided by their number, so the result does not depend on how the step is divided. Nothing here
waits for a GPU.
"""

import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.tensor import DTensor

from model_foundry.architectures import ModelOutput
from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult
from model_foundry.training.profiler.phases import phase
from model_foundry.training.step_batches import StepBatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A model and its optimizer, which take optimizer steps together."""

    model: torch.nn.Module
    """As Accelerate has prepared it; so is the optimizer."""
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    guard: NonFiniteGuard
    """Prevents updates from losses or gradients that are not finite."""
    max_grad_norm: float | None = None
    """Largest global norm of the gradient; None: no limit."""
    carried: CarriedState | None = None
    """States from which rows continue, replaced by those after them; None: rows are independent."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the model beside its inputs."""

    def take_step(self, batch: StepBatch, *, step: int, learning_rate: float) -> StepResult:
        """Make one update.

        Args:
            step: updates made before, for messages.

        Raises:
            NonFiniteError: the loss or the gradient is not finite; the update was not made.
        """
        if not self.model.training:
            self.model.train()
        if batch.labels == 0:
            for slot, micro_batch in enumerate(batch.micro_batches):
                self._read_only(micro_batch, slot)
            logger.warning("step %d has no label to learn from; its update is left out", step + 1)
            return StepResult(torch.zeros(()), torch.zeros(()), batch.own_labels)
        loss = self._accumulate(batch)
        result = StepResult(
            self.accelerator.reduce(loss, "sum"), self._clip_gradients(), batch.own_labels
        )
        self.guard.record(step + 1, result, batch.micro_batches, learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return result

    def _accumulate(self, batch: StepBatch) -> Tensor:
        """Add up the gradients of a step; return this process's part of its loss."""
        processes, last = self.accelerator.num_processes, len(batch.micro_batches) - 1
        total = torch.zeros((), device=self.accelerator.device)
        for slot, micro_batch in enumerate(batch.micro_batches):
            count = batch.own_labels[slot]
            if count == 0 and processes == 1:  # the mean over no labels is undefined, its sum zero
                self._read_only(micro_batch, slot)
                continue
            # processes exchange gradients once, after the last micro-batch
            with nullcontext() if slot == last else self.accelerator.no_sync(self.model):
                # a micro-batch without labels takes part in the exchange, weighted by zero
                output = self._forward(micro_batch if count else _labelled(micro_batch), slot)
                loss = _loss_of(output) * (count / batch.labels)
                # DDP averages gradients over the processes, which the factor undoes
                with phase("backward"):
                    self.accelerator.backward(loss * processes if processes > 1 else loss)
            total += loss.detach()
        return total

    def _clip_gradients(self) -> Tensor:
        """Clip the gradients to `max_grad_norm`; return their norm before that."""
        limit = math.inf if self.max_grad_norm is None else self.max_grad_norm
        with phase("gradient norm"):
            norm: Tensor = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm  # DTensor under FSDP2

    def _forward(self, batch: Batch, slot: int) -> ModelOutput:
        inputs: dict[str, Any] = {
            name: tensor.to(self.accelerator.device, non_blocking=True)
            for name, tensor in batch.inputs.items()
        }
        if self.carried is not None:
            inputs |= self.carried.arguments(slot, batch)
        with phase("forward"):
            output: ModelOutput = self.model(**inputs, **self.arguments)
        if self.carried is not None:
            self.carried.keep(slot, output)
        return output

    @torch.no_grad()
    def _read_only(self, batch: Batch, slot: int) -> None:
        """Advance the carried state over a micro-batch that has no label."""
        if self.carried is not None:
            self._forward(batch, slot)


def _labelled(batch: Batch) -> Batch:
    """Return a batch with arbitrary labels, so that its loss is defined; it is weighted by 0."""
    labels = torch.full_like(batch.inputs["labels"], IGNORE_INDEX)
    ids = batch.inputs["input_ids"]
    labels[:, : ids.shape[1]] = ids
    return replace(batch, inputs={**batch.inputs, "labels": labels})


def _loss_of(output: ModelOutput) -> Tensor:
    if output.loss is None:
        raise ConfigError(
            "model.architecture: the model was given labels and returned no loss; correct its "
            "forward method"
        )
    return output.loss
