"""The loss on held-out text, per token and per byte."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.loaders import Batch
from model_foundry.objectives import Objective
from model_foundry.signals import poll


def measure_loss(
    model: BaseLanguageModel,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    carry_state: bool = False,
) -> dict[str, float]:
    """Measure a model on every batch; each scored token counts once, however it was batched.

    Args:
        carry_state: go on from the state after the batch before, unless a batch begins.

    Returns:
        `loss` in nats per scored token, its exponential `perplexity`, `bits_per_byte` over the
        UTF-8 bytes of exactly the scored tokens (NaN where these have none), and `tokens` scored.

    Raises:
        Interrupted: a signal came.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    nats, tokens, size = 0.0, 0, 0
    state: dict[str, Tensor] = {}
    with torch.no_grad():
        for batch in batches:
            poll()
            scored = objective.scored(batch.inputs["labels"])
            count = int(scored.sum())
            if count == 0 and not carry_state:
                continue
            inputs: dict[str, Any] = {name: t.to(device) for name, t in batch.inputs.items()}
            if carry_state:
                inputs |= _go_on(model, batch, state)
            output = model(**inputs)
            if carry_state:
                state = model.state_tensors(output.past_key_values)
            nats += float(output.loss) * count if count else 0.0
            tokens += count
            size += int((batch.num_bytes * scored).sum())
    model.train(was_training)
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
