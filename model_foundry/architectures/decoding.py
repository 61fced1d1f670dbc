"""Generation for models that bring none: the whole prefix is read again for each token.

Greedy and sampling only; the transformers-backed architectures have caches, beams and the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

NextLogits = Callable[[Tensor, Tensor | None], Tensor]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off, and restore the model's mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def likeliest(logits: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Return logits (B, V) of which all but the likeliest are -inf.

    Args:
        top_k: number that stays; 0: all.
        top_p: share of the probability that the shortest list of those that stay holds at least
            (Holtzman et al. 2020, arXiv:1904.09751); 1: all.
    """
    if top_k:
        weakest = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < weakest, -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(descending=True)
        shares = ordered.softmax(-1)
        superfluous = shares.cumsum(-1) - shares >= top_p
        logits = logits.masked_fill(superfluous.gather(1, order.argsort(1)), -torch.inf)
    return logits


def choose_tokens(
    logits: Tensor, *, do_sample: bool, temperature: float, top_k: int, top_p: float
) -> Tensor:
    """Return one id for each row of logits (B, V)."""
    if not do_sample:
        return logits.argmax(-1)
    kept = likeliest(logits.float() / temperature, top_k=top_k, top_p=top_p)
    return torch.multinomial(kept.softmax(-1), 1).squeeze(-1)


def continue_rows(
    next_logits: NextLogits,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_new_tokens: int,
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> Tensor:
    """Add up to `max_new_tokens` ids to each row (B, T).

    A row that reached `eos_token_id` is filled with `pad_token_id` (None: with the end token).
    """
    ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    filler = eos_token_id if pad_token_id is None else pad_token_id
    for _ in range(max_new_tokens):
        logits = next_logits(input_ids, attention_mask)
        new = choose_tokens(
            logits, do_sample=do_sample, temperature=temperature, top_k=top_k, top_p=top_p
        )
        if filler is not None:
            new = new.masked_fill(ended, filler)
        input_ids = torch.cat((input_ids, new[:, None]), dim=1)
        if attention_mask is not None:
            attention_mask = torch.cat(
                (attention_mask, attention_mask.new_ones(len(new), 1)), dim=1
            )
        ended |= new == eos_token_id
        if ended.all():
            break
    return input_ids
