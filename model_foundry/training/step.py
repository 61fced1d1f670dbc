"""One optimizer update from the micro-batches of a step.

Its loss is the sum over all valid labels of its micro-batches, on all processes, divided by their
number; how the step is cut up therefore does not matter.
"""

import logging
import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from accelerate import Accelerator

from model_foundry.architectures import ModelOutput
from model_foundry.data.loaders import Batch, batch_digest
from model_foundry.errors import ConfigError, NonFiniteError
from model_foundry.objectives import Objective
from model_foundry.training.carried import CarriedState

logger = logging.getLogger(__name__)

NAMED_BLOCKS = 8  # in a message; the diagnosis has all


@dataclass(frozen=True)
class StepResult:
    """What one step was made of."""

    loss: float
    """Nats per valid label."""
    grad_norm: float
    """Global norm of the gradient before clipping."""
    labels: list[int]
    """Valid labels of each micro-batch of this process."""


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
) -> StepResult:
    """Make one update from the micro-batches of this process.

    Args:
        max_grad_norm: largest global norm of the gradient; None: no bound.
        step: updates made before, for messages.
        carried: the states that the rows go on from, which are replaced by those after them; None:
            rows stand alone.

    Raises:
        NonFiniteError: the loss or the gradient is not finite; the update was not made.
    """
    model.train()
    counts = [int(objective.scored(batch.inputs["labels"]).sum()) for batch in micro_batches]
    # Known before the first backward pass, so that each micro-batch is scaled once and for all.
    total = int(accelerator.reduce(torch.tensor(sum(counts), device=accelerator.device), "sum"))
    summed = torch.zeros((), device=accelerator.device)
    last = max((slot for slot, count in enumerate(counts) if count), default=None)
    for slot, (batch, count) in enumerate(zip(micro_batches, counts, strict=True)):
        read = partial(_read, model, batch, carried, slot, device=accelerator.device)
        if count == 0:  # the mean over no labels is undefined, and its sum is zero
            if carried is not None:
                with torch.no_grad():  # the text goes on behind it
                    read()
            continue
        # processes exchange gradients once, after the last micro-batch
        with nullcontext() if slot == last else accelerator.no_sync(model):
            loss = _loss_of(read()) * (count / total)
            # DDP averages gradients over the processes, which the factor undoes
            accelerator.backward(loss * accelerator.num_processes)
        summed += loss.detach()
    if total == 0:
        logger.warning("step %d has no label to learn from; its update is left out", step + 1)
        return StepResult(loss=0.0, grad_norm=0.0, labels=counts)
    # The norm is returned as it was before clipping; without a bound nothing is scaled.
    norm = accelerator.clip_grad_norm_(
        model.parameters(), math.inf if max_grad_norm is None else max_grad_norm
    )
    result = StepResult(float(accelerator.reduce(summed, "sum")), float(norm), counts)
    # Under fp16 the gradient scaler skips updates that overflow and lowers its scale; the loss
    # itself must be finite all the same.
    if not math.isfinite(result.loss + (0.0 if accelerator.scaler else result.grad_norm)):
        raise _not_finite(result, micro_batches, step=step, learning_rate=learning_rate)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return result


def _read(
    model: torch.nn.Module,
    batch: Batch,
    carried: CarriedState | None,
    slot: int,
    *,
    device: torch.device,
) -> ModelOutput:
    inputs: dict[str, Any] = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
    if carried is None:
        return cast(ModelOutput, model(**inputs))
    output: ModelOutput = model(**inputs, **carried.arguments(slot, batch))
    carried.keep(slot, output)
    return output


def _loss_of(output: ModelOutput) -> torch.Tensor:
    if output.loss is None:
        raise ConfigError(
            "model.architecture: the model was given labels and returned no loss; mend its forward"
        )
    return output.loss


def _not_finite(
    result: StepResult, micro_batches: list[Batch], *, step: int, learning_rate: float
) -> NonFiniteError:
    keys = [key for batch in micro_batches for key in batch.keys]
    facts = {
        "step": step + 1,
        "loss": result.loss,
        "grad_norm": result.grad_norm,
        "learning_rate": learning_rate,
        "blocks": [{"pass": number, "block": index} for number, index in keys],
        "batch_digest": batch_digest(micro_batches),
    }
    named = ", ".join(str(index) for _, index in keys[:NAMED_BLOCKS])
    more = f" and {len(keys) - NAMED_BLOCKS} more" if len(keys) > NAMED_BLOCKS else ""
    return NonFiniteError(
        f"step {step + 1}: loss {result.loss}, gradient norm {result.grad_norm} at learning rate "
        f"{learning_rate:.3g}, on blocks {named}{more}; the update was not made. Lower "
        "training.learning_rate, or lengthen training.warmup_steps.",
        facts,
    )
