"""The loss on held-out text, per token and per byte, and its confidence interval."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.objectives import Objective

FEWEST_BATCHES = 4  # for an interval
QUANTILE = 1.96  # of the normal distribution, two-sided, for 95%


def measure_loss(
    model: BaseLanguageModel,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    carry_state: bool = False,
    loss_without_logits: bool = True,
    processes: ProcessGroup = ALONE,
    shared: bool = True,
) -> dict[str, float]:
    """Measure a model on all batches; each scored token has the same weight, in any batching.

    Args:
        carry_state: continue from the state of the previous batch, unless a batch begins.
        loss_without_logits: use `return_logits=False` if the model supports it.
        processes: the processes that measure the model together.
        shared: True if each process has its own batches. If not, each has all of them, as with
            sharded weights, which need every process in each forward pass.

    Returns:
        `loss` in nats per scored token, its exponential `perplexity`, `bits_per_byte` over the
        UTF-8 bytes of the scored tokens, half the width of its 95% confidence interval as
        `bits_per_byte_interval`, and `tokens` scored; the same in every process. Undefined figures
        are left out: bits per byte if the scored tokens have no bytes, the interval with fewer than
        four batches or carried states, where batches are not independent.

    Raises:
        DataError: no token is scored.
        Interrupted: a signal came, and there is one process; several stop at the next step.
    """
    alone = loss_without_logits and model.computes_loss_alone
    if processes.world_size == 1:
        batches = _interruptible(batches)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        measured = list(_losses(model, batches, objective, carry_state=carry_state, alone=alone))
    model.train(was_training)
    losses, counts, sizes = zip(*measured, strict=True) if measured else ((), (), ())
    # copied at the end, because each copy waits for the device
    means = torch.stack(list(losses)).tolist() if losses else []
    nats = [mean * count for mean, count in zip(means, counts, strict=True)]
    own = _Sums.of(nats, counts, sizes) if shared or processes.is_rank0 else _Sums()
    sums = _Sums(*processes.sum(astuple(own)))
    if not sums.tokens:
        raise DataError("no token of the text is scored, so there is no loss")
    return sums.figures(with_interval=not carry_state)


def _interruptible(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        check_interrupt()
        yield batch


def _losses(
    model: BaseLanguageModel,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    carry_state: bool,
    alone: bool,
) -> Iterator[tuple[Tensor, int, int]]:
    """Yield the mean loss of each batch, its number of scored tokens and their bytes."""
    device = next(model.parameters()).device
    more = {"return_logits": False} if alone else {}
    state: dict[str, Tensor] = {}
    for batch in batches:
        scored = objective.scored(batch.inputs["labels"])
        count = int(scored.sum())
        if count == 0 and not carry_state:
            continue
        inputs: dict[str, Any] = {
            name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()
        }
        if carry_state:
            inputs |= _carried_arguments(model, batch, state)
        output = model(**inputs, **more)
        if carry_state:
            state = model.state_tensors(output.past_key_values)
        if count:
            yield output.loss, count, int((batch.num_bytes * scored).sum())


@dataclass(frozen=True)
class _Sums:
    """Sums over batches, sufficient for all figures."""

    batches: float = 0
    nats: float = 0
    tokens: float = 0
    bytes: float = 0
    nats_squared: float = 0
    nats_by_bytes: float = 0
    bytes_squared: float = 0

    @classmethod
    def of(cls, nats: Sequence[float], tokens: Sequence[int], sizes: Sequence[int]) -> "_Sums":
        """Add up batches, each with its nats, its scored tokens and their bytes."""
        return cls(
            len(nats),
            sum(nats),
            sum(tokens),
            sum(sizes),
            sum(n * n for n in nats),
            sum(n * b for n, b in zip(nats, sizes, strict=True)),
            sum(b * b for b in sizes),
        )

    def figures(self, *, with_interval: bool) -> dict[str, float]:
        """Return the figures that are defined."""
        loss = self.nats / self.tokens
        figures = {
            "loss": loss,
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "tokens": int(self.tokens),
        }
        if self.bytes:
            figures["bits_per_byte"] = self.nats / (math.log(2) * self.bytes)
            if with_interval and self.batches >= FEWEST_BATCHES:
                figures["bits_per_byte_interval"] = self._interval()
        return figures

    def _interval(self) -> float:
        """Return half the width of the 95% interval of the bits per byte.

        The batches are treated as a sample of the text, and the figure as a ratio of two sums over
        them (Cochran 1977, Sampling Techniques, section 6.4).
        """
        ratio = self.nats / self.bytes
        squares = self.nats_squared - 2 * ratio * self.nats_by_bytes
        squares += ratio**2 * self.bytes_squared
        variance = max(0.0, squares) * self.batches / (self.batches - 1) / self.bytes**2
        return students_quantile(int(self.batches) - 1) * math.sqrt(variance) / math.log(2)


def students_quantile(freedom: int) -> float:
    """Return the two-sided 95% quantile of Student's t distribution (Cornish-Fisher expansion).

    The error is below 1% from 3 degrees of freedom.
    """
    z = QUANTILE
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _carried_arguments(
    model: BaseLanguageModel, batch: Batch, state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return the arguments that continue from the state of the previous batch."""
    if batch.begins:
        return {"use_cache": True}
    rows = len(batch.keys)  # lanes that have ended were the last rows
    past = model.state_from({name: tensor[:rows] for name, tensor in state.items()})
    return {"use_cache": True, "past_key_values": past}
