"""No update is ever made from a loss or a gradient that is not finite.

On a CPU each step is looked at before its update. Looking at a GPU would wait for it, so there the
device itself leaves out the updates from the first bad step on, until the host looks.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model_foundry.data.batches.loaders import Batch, batch_digest
from model_foundry.errors import NonFiniteError
from model_foundry.foundation.process_group import ALONE, ProcessGroup

MOST_UNREAD = 32  # steps; their batches are kept for the message
NAMED_BLOCKS = 8  # in a message; the diagnosis has all


@dataclass(frozen=True)
class StepResult:
    """What one step was made of."""

    loss_on_device: Tensor
    """Nats per valid label, over all processes."""
    norm_on_device: Tensor
    """Global norm of the gradient before clipping."""
    labels: list[int]
    """Valid labels of each micro-batch of this process."""

    @property
    def loss(self) -> float:
        """Nats per valid label, over all processes. Reading it waits for the device."""
        return float(self.loss_on_device)

    @property
    def grad_norm(self) -> float:
        """Global norm of the gradient before clipping. Reading it waits for the device."""
        return float(self.norm_on_device)


@dataclass(frozen=True)
class _Watched:
    step: int
    result: StepResult
    micro_batches: list[Batch]
    learning_rate: float


class NonFiniteGuard:
    """Looks at losses and gradients.

    Args:
        at_once: whether each step is looked at before its update is made.
        scaled: whether a gradient scaler is in use: under fp16 it leaves out updates that overflow
            and lowers its scale; the loss itself must be finite all the same.
        processes: all that take the steps.
    """

    def __init__(
        self, *, at_once: bool, scaled: bool = False, processes: ProcessGroup = ALONE
    ) -> None:
        self.at_once, self.scaled, self.processes = at_once, scaled, processes
        self._flag: Tensor | None = None
        self._unread: list[_Watched] = []

    @classmethod
    def of(
        cls,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        scaled: bool,
        processes: ProcessGroup = ALONE,
    ) -> "NonFiniteGuard":
        """Return what suits a run: the device can leave updates out under a fused optimizer only.

        Args:
            optimizer: torch's own, not what Accelerate makes of it.
        """
        able = device.type == "cuda" and bool(optimizer.defaults.get("fused")) and not scaled
        found = cls(at_once=not able, scaled=scaled, processes=processes)
        if able:
            found.let_leave_out(optimizer, device)
        return found

    def let_leave_out(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Have a fused optimizer leave out its updates from the first bad step on.

        Torch's gradient scaler has the same done; a step left out advances no counter.
        """
        self._flag = torch.zeros((), device=device)
        optimizer.found_inf = self._flag  # type: ignore[attr-defined]  # see _fused_adamw

    def watch(
        self, step: int, result: StepResult, micro_batches: list[Batch], learning_rate: float
    ) -> None:
        """Take note of a step before its update is made.

        Raises:
            NonFiniteError: it, or one before it, is not finite; no update was made since.
        """
        self._unread.append(_Watched(step, result, micro_batches, learning_rate))
        if self._flag is not None:
            self._flag.masked_fill_(~torch.isfinite(self._sum(result)), 1.0)
        if self.at_once or len(self._unread) >= MOST_UNREAD:
            self.require()

    def require(self) -> None:
        """Look at every step that was not looked at, which waits for the device.

        Raises:
            NonFiniteError: one is not finite; no update was made since.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        sums = torch.stack([self._sum(watched.result) for watched in unread]).tolist()
        for watched, value in zip(unread, sums, strict=True):
            if not math.isfinite(value):
                raise self._error(watched)

    def _sum(self, result: StepResult) -> Tensor:
        """Return what is finite where all that must be is."""
        if self.scaled:
            return result.loss_on_device
        return result.loss_on_device + result.norm_on_device

    def _error(self, watched: _Watched) -> NonFiniteError:
        rows = rows_of_all(watched.micro_batches, self.processes)
        keys = [key for batch in rows for key in batch.keys]
        result, rate = watched.result, watched.learning_rate
        facts = {
            "step": watched.step,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "learning_rate": rate,
            "blocks": [{"pass": number, "block": index} for number, index in keys],
            "batch_digest": batch_digest(rows),
        }
        named = ", ".join(str(index) for _, index in keys[:NAMED_BLOCKS])
        more = f" and {len(keys) - NAMED_BLOCKS} more" if len(keys) > NAMED_BLOCKS else ""
        return NonFiniteError(
            f"step {watched.step}: loss {result.loss}, gradient norm {result.grad_norm} at "
            f"learning rate {rate:.3g}, on blocks {named}{more}; the update was not made. Lower "
            "training.learning_rate, or lengthen training.warmup_steps.",
            facts,
        )


def rows_of_all(micro_batches: list[Batch], processes: ProcessGroup) -> list[Batch]:
    """Return the micro-batches of all processes, in the order in which one process has them."""
    return [batch for share in processes.all_gather(micro_batches) for batch in share]
