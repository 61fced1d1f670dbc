"""Greedy generation from the saved model of a workload, ours and that of transformers.

A tick follows so many calls; its step is the number of tokens that each row has got.
"""

from collections.abc import Callable
from itertools import count

from torch import Tensor

from benchmarks.contenders.work import Work

PROMPT = 16  # tokens

Generate = Callable[[Tensor, int], Tensor]


def repeat(work: Work, generate: Generate) -> None:
    """Continue the same prompts without end; a row has `block` tokens with its prompt."""
    shape = work.shape
    tokens = work.tokens()[: shape.batch * PROMPT]
    prompts = tokens.view(shape.batch, PROMPT).to(work.device)
    new = shape.block - PROMPT
    for done in count(1):
        length = generate(prompts, new).shape[1]
        assert length == shape.block, f"{length} tokens instead of {shape.block}"
        if done % shape.steps == 0:
            work.tick(done * new, 0.0)
