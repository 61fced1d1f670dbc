"""A guard against updates from losses or gradients that are not finite.

On a CPU each step is checked before its update. Checking would make the host wait for a GPU, so
there the device itself leaves out the updates from the first bad step on, until the host checks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model_foundry.data.batches.loaders import Batch, batch_digest
from model_foundry.errors import NonFiniteError
from model_foundry.foundation.process_group import ALONE, ProcessGroup

MAX_UNCHECKED = 32  # steps; their batches are kept for the message
MOST_NAMED = 8  # in a message; the diagnosis has all


@dataclass(frozen=True)
class StepResult:
    """Loss and gradient norm of one step."""

    loss_on_device: Tensor
    """The weighted sum of all losses, each per target, over all processes."""
    norm_on_device: Tensor
    """Global norm of the gradient before clipping."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Each loss per target, if there are several."""

    @property
    def loss(self) -> float:
        """The weighted sum of all losses. Reading it waits for the device."""
        return float(self.loss_on_device)

    @property
    def grad_norm(self) -> float:
        """Global norm of the gradient before clipping. Reading it waits for the device."""
        return float(self.norm_on_device)


@dataclass(frozen=True)
class _Recorded:
    step: int
    result: StepResult
    micro_batches: list[Batch]
    learning_rate: float


class NonFiniteGuard:
    """Checks losses and gradient norms.

    Args:
        at_once: check each step before its update is made.
        scaled: a gradient scaler is in use. Under fp16 it leaves out updates that overflow and
            lowers its scale; the loss itself must still be finite.
        processes: all processes that take the steps.
    """

    def __init__(
        self, *, at_once: bool, scaled: bool = False, processes: ProcessGroup = ALONE
    ) -> None:
        self.at_once, self.scaled, self.processes = at_once, scaled, processes
        self._flag: Tensor | None = None
        self._unchecked: list[_Recorded] = []

    @classmethod
    def of(
        cls,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        scaled: bool,
        processes: ProcessGroup = ALONE,
    ) -> "NonFiniteGuard":
        """Return the guard for a run; few optimizers can leave updates out on the device.

        Args:
            optimizer: torch's own, not what Accelerate makes of it.
        """
        # the mark by which torch's gradient scaler knows that an optimizer reads `found_inf`
        reads_flag = getattr(optimizer, "_step_supports_amp_scaling", False)
        able = device.type == "cuda" and reads_flag and not scaled
        found = cls(at_once=not able, scaled=scaled, processes=processes)
        if able:
            found.enable_skipping(optimizer, device)
        return found

    def enable_skipping(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Make a fused optimizer leave out its updates from the first bad step on.

        Torch's gradient scaler uses the same flag; a step left out advances no counter.
        """
        self._flag = torch.zeros((), device=device)
        optimizer.found_inf = self._flag  # type: ignore[attr-defined]  # see _fused_adamw

    def record(
        self, step: int, result: StepResult, micro_batches: list[Batch], learning_rate: float
    ) -> None:
        """Record a step before its update is made.

        Raises:
            NonFiniteError: this step or an earlier one is not finite; no update was made since.
        """
        self._unchecked.append(_Recorded(step, result, micro_batches, learning_rate))
        if self._flag is not None:
            self._flag.masked_fill_(~torch.isfinite(self._sum(result)), 1.0)
        if self.at_once or len(self._unchecked) >= MAX_UNCHECKED:
            self.check()

    def check(self) -> None:
        """Check every recorded step, which waits for the device.

        Raises:
            NonFiniteError: a step is not finite; no update was made since.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        sums = torch.stack([self._sum(recorded.result) for recorded in unchecked]).tolist()
        for recorded, value in zip(unchecked, sums, strict=True):
            if not math.isfinite(value):
                raise self._error(recorded)

    def _sum(self, result: StepResult) -> Tensor:
        """Return a number that is finite if and only if the step is."""
        if self.scaled:
            return result.loss_on_device
        return result.loss_on_device + result.norm_on_device

    def _error(self, recorded: _Recorded) -> NonFiniteError:
        rows = rows_of_all(recorded.micro_batches, self.processes)
        keys = [key for batch in rows for key in batch.keys]
        result, rate = recorded.result, recorded.learning_rate
        facts = {
            "step": recorded.step,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "learning_rate": rate,
            "examples": [{"pass": number, "example": index} for number, index in keys],
            "batch_digest": batch_digest(rows),
        }
        named = ", ".join(str(index) for _, index in keys[:MOST_NAMED])
        more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
        return NonFiniteError(
            f"step {recorded.step}: loss {result.loss}, gradient norm {result.grad_norm} at "
            f"learning rate {rate:.3g}, on examples {named}{more}; the update was not made. Lower "
            "training.learning_rate, or lengthen training.warmup_steps.",
            facts,
        )


def rows_of_all(micro_batches: list[Batch], processes: ProcessGroup) -> list[Batch]:
    """Return the micro-batches of all processes, in the order of a single process."""
    return [batch for share in processes.all_gather(micro_batches) for batch in share]
