"""Changed inputs for a model, and a context that restores the model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from model_foundry.architectures import BaseLanguageModel

LONGEST_ROW = 128  # tokens, for rows without padding
AWAKE = 0.1  # standard deviation of the weights that replace zeros


def two_rows(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return two rows of a batch, truncated if they have no padding; one row is repeated."""
    cut = LONGEST_ROW if "attention_mask" not in inputs else None
    rows = {name: tensor[:2, :cut] for name, tensor in inputs.items()}
    if len(inputs["input_ids"]) == 1:
        rows = {name: torch.cat((tensor, tensor)) for name, tensor in rows.items()}
    return rows


def other_tokens(ids: Tensor, real: Tensor, model: BaseLanguageModel) -> Tensor:
    """Return a different token for each, (B, T), out of those that occur."""
    known = torch.tensor(sorted(set(ids[real].tolist())), device=ids.device)
    if len(known) == 1:
        weight = model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        known = torch.cat((known, (known + 1) % weight.shape[0])).sort().values
    places = torch.searchsorted(known, ids.contiguous()).clamp(max=len(known) - 1)
    return known.roll(-1)[places]


@contextmanager
def restored(model: BaseLanguageModel) -> Iterator[None]:
    """Restore modes, buffers and weights of a model after the block, bit for bit.

    Weights that are all zero may be closed gates, which hide a leak until they open. They have
    random values within the block.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    # sharded weights may have been gathered, apart from DTensors
    own = (p for p in model.parameters() if p.is_floating_point() and not isinstance(p, DTensor))
    asleep = [(weight, weight.clone()) for weight in own if not weight.any()]
    generator = torch.Generator().manual_seed(0)
    with ExitStack() as stack:
        if any(module._compiled_call_impl is not None for module, _ in modes):
            # new shapes would be compiled, and slow down those of training
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for weight, _ in asleep:
                weight.copy_(AWAKE * torch.randn(weight.shape, generator=generator))
            yield
        finally:
            for weight, zeros in asleep:
                weight.copy_(zeros)
            for module, name, buffer, values in buffers:
                module._buffers[name] = buffer
                if buffer is not None and values is not None:
                    buffer.copy_(values)
            for module, training in modes:
                module.training = training
