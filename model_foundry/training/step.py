"""One optimizer update from the micro-batches of a step.

Each loss of a step is the sum over its targets in all micro-batches, on all processes, divided by
their number, so the result does not depend on how the step is divided. Nothing here waits for a
GPU.
"""

import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.tensor import DTensor

from model_foundry.data.batches.loaders import Batch
from model_foundry.objectives import ForwardPass, Objective
from model_foundry.objectives.measure import Metrics
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult
from model_foundry.training.optimizer import set_learning_rate
from model_foundry.training.profiler.phases import phase
from model_foundry.training.step_batches import StepBatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A model and its optimizer, which take optimizer steps together."""

    model: torch.nn.Module
    """As Accelerate has prepared it; so is the optimizer."""
    optimizer: torch.optim.Optimizer
    objective: Objective
    accelerator: Accelerator
    guard: NonFiniteGuard
    """Prevents updates from losses or gradients that are not finite."""
    metrics: Metrics | None = None
    """Metrics of the training batches; None: there are none."""
    max_grad_norm: float | None = None
    """Largest global norm of the gradient; None: no limit."""
    max_grad_value: float | None = None
    """Largest absolute value of an entry of the gradient; None: no limit."""
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
        if not any(batch.targets.values()):
            for slot, micro_batch in enumerate(batch.micro_batches):
                self._read_only(micro_batch, slot)
            logger.warning("step %d has no label to learn from; its update is left out", step + 1)
            return StepResult(torch.zeros(()), torch.zeros(()))
        loss, parts = self._accumulate(batch)
        result = StepResult(
            self.accelerator.reduce(loss, "sum"),
            self._clip_gradients(),
            {name: self.accelerator.reduce(part, "sum") for name, part in parts.items()},
        )
        self.guard.record(step + 1, result, batch.micro_batches, learning_rate)
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return result

    def _accumulate(self, batch: StepBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the gradients of a step; return this process's part of its losses."""
        processes, last = self.accelerator.num_processes, len(batch.micro_batches) - 1
        total = torch.zeros((), device=self.accelerator.device)
        parts: dict[str, Tensor] = {}
        for slot, micro_batch in enumerate(batch.micro_batches):
            own = batch.own_targets[slot]
            if processes == 1 and not any(own.values()):
                self._read_only(micro_batch, slot)
                continue
            # processes exchange gradients once, after the last micro-batch
            with nullcontext() if slot == last else self.accelerator.no_sync(self.model):
                # a micro-batch without targets takes part in the exchange, weighted by zero
                done = self._forward(micro_batch, slot, own)
                loss = self._combine(done, batch.targets, parts)
                # DDP averages gradients over the processes, which the factor undoes
                with phase("backward"):
                    self.accelerator.backward(loss * processes if processes > 1 else loss)
            total += loss.detach()
            if self.metrics is not None and any(own.values()):
                self.metrics.add(done)
        return total, parts

    def _combine(
        self, done: ForwardPass, targets: Mapping[str, int], parts: dict[str, Tensor]
    ) -> Tensor:
        """Return the share of a micro-batch in the loss of its step; of several losses, add that of
        each to `parts`."""
        terms = []
        for name, mean in done.losses.items():
            if not targets[name]:
                continue
            share, weight = done.targets[name] / targets[name], self.objective.weights[name]
            terms.append(mean * (weight * share))
            if len(done.losses) > 1:
                parts[name] = parts.get(name, 0) + mean.detach() * share
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum()

    def _clip_gradients(self) -> Tensor:
        """Clip the gradients to their limits; return their global norm before that."""
        limit = math.inf if self.max_grad_norm is None else self.max_grad_norm
        with phase("gradient norm"):
            norm: Tensor = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
            if (most := self.max_grad_value) is not None:
                for parameter in self.model.parameters():
                    if parameter.grad is not None:
                        parameter.grad.clamp_(-most, most)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm  # DTensor under FSDP2

    def _forward(self, batch: Batch, slot: int, targets: Mapping[str, int]) -> ForwardPass:
        inputs = {
            name: tensor.to(self.accelerator.device, non_blocking=True)
            for name, tensor in batch.inputs.items()
        }
        carried = {} if self.carried is None else self.carried.arguments(slot, batch)
        with phase("forward"):
            done = self.objective.run(self.model, inputs, targets, **self.arguments, **carried)
        if self.carried is not None:
            self.carried.keep(slot, done.output)
        return done

    @torch.no_grad()
    def _read_only(self, batch: Batch, slot: int) -> None:
        """Advance the carried state over a micro-batch that has no target."""
        if self.carried is not None:
            self._forward(batch, slot, {})
