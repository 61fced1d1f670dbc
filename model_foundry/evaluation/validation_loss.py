"""The loss on held-out text, per token and per byte."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.loaders import Batch
from model_foundry.objectives import Objective
from model_foundry.processes import ALONE, Processes
from model_foundry.signals import poll


def measure_loss(
    model: BaseLanguageModel,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    carry_state: bool = False,
    loss_without_logits: bool = True,
    processes: Processes = ALONE,
    shared: bool = True,
) -> dict[str, float]:
    """Measure a model on every batch; each scored token counts once, however it was batched.

    Args:
        carry_state: go on from the state after the batch before, unless a batch begins.
        loss_without_logits: let a model that can do so compute its loss alone.
        processes: all that measure the model, at the same time.
        shared: whether they divide the batches among them. If not, each has all of them, as it must
            where the weights are divided: then no process can compute without the others.

    Returns:
        `loss` in nats per scored token, its exponential `perplexity`, `bits_per_byte` over the
        UTF-8 bytes of exactly the scored tokens (NaN where these have none), and `tokens` scored;
        the same in every process.

    Raises:
        Interrupted: a signal came, and there is one process; several obey it at the next step.
    """
    device = next(model.parameters()).device
    alone = {"return_logits": False} if loss_without_logits and model.computes_loss_alone else {}
    was_training = model.training
    model.eval()
    losses, counts, size = [], [], 0
    state: dict[str, Tensor] = {}
    with torch.no_grad():
        for batch in batches:
            if processes.number == 1:
                poll()
            scored = objective.scored(batch.inputs["labels"])
            count = int(scored.sum())
            if count == 0 and not carry_state:
                continue
            inputs: dict[str, Any] = {
                name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()
            }
            if carry_state:
                inputs |= _go_on(model, batch, state)
            output = model(**inputs, **alone)
            if carry_state:
                state = model.state_tensors(output.past_key_values)
            if count:
                losses.append(output.loss)
                counts.append(count)
                size += int((batch.num_bytes * scored).sum())
    model.train(was_training)
    # read at the end, because reading waits for the device
    means = torch.stack(losses).tolist() if losses else []
    nats = sum(mean * count for mean, count in zip(means, counts, strict=True))
    counted = shared or processes.is_main
    sums = processes.sum([nats, sum(counts), size] if counted else [0.0, 0.0, 0.0])
    nats, tokens, size = sums[0], int(sums[1]), int(sums[2])
    loss = nats / tokens if tokens else math.nan
    return {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits_per_byte": nats / (math.log(2) * size) if size else math.nan,
        "tokens": tokens,
    }


def _go_on(model: BaseLanguageModel, batch: Batch, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what a model is told that goes on from the state after the batch before."""
    if batch.begins:
        return {"use_cache": True}
    rows = len(batch.keys)  # lanes that have ended were the last ones
    past = model.state_from({name: tensor[:rows] for name, tensor in state.items()})
    return {"use_cache": True, "past_key_values": past}
