"""The loss on held-out text, per token and per byte."""

import math
from collections.abc import Iterable

import torch

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.loaders import Batch
from model_foundry.objectives import Objective
from model_foundry.signals import poll


def measure_loss(
    model: BaseLanguageModel, batches: Iterable[Batch], objective: Objective
) -> dict[str, float]:
    """Measure a model on every batch; each scored token counts once, however it was batched.

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
    with torch.no_grad():
        for batch in batches:
            poll()
            scored = objective.scored(batch.inputs["labels"])
            count = int(scored.sum())
            if count == 0:
                continue
            inputs = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
            nats += float(model(**inputs).loss) * count
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
