"""Generation for plain torch models: the whole prefix is read again for each token.

Greedy and sampling only; models of transformers have caches and beams.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NextLogits = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The keywords of `generate`."""

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    """Number of the most likely tokens that are kept; 0: all."""
    top_p: float = 1.0
    """Probability that the kept tokens hold together, at least (Holtzman et al. 2020,
    arXiv:1904.09751); 1: all are kept."""
    eos_token_id: int | None = None
    pad_token_id: int | None = None
    """Filler of rows that have ended; None: the end token."""

    def choose(self, logits: Tensor) -> Tensor:
        """Return one id for each row of logits (B, V)."""
        if not self.do_sample:
            return logits.argmax(-1)
        kept = self.filter(logits.float() / self.temperature)
        return torch.multinomial(kept.softmax(-1), 1).squeeze(-1)

    def filter(self, logits: Tensor) -> Tensor:
        """Return logits (B, V) in which all but the kept tokens are -inf."""
        if self.top_k:
            lowest = logits.topk(min(self.top_k, logits.shape[-1])).values[:, -1:]
            logits = logits.masked_fill(logits < lowest, -torch.inf)
        if self.top_p < 1:
            ordered, order = logits.sort(descending=True)
            shares = ordered.softmax(-1)
            dropped = shares.cumsum(-1) - shares >= self.top_p
            logits = logits.masked_fill(dropped.gather(1, order.argsort(1)), -torch.inf)
        return logits


def continue_rows(
    next_logits: NextLogits,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_new_tokens: int,
    sampling: Sampling,
) -> Tensor:
    """Append up to `max_new_tokens` ids to each row (B, T); rows that have ended are padded."""
    ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    pad, eos = sampling.pad_token_id, sampling.eos_token_id
    filler = eos if pad is None else pad
    for _ in range(max_new_tokens):
        new = sampling.choose(next_logits(input_ids, attention_mask))
        if filler is not None:
            new = new.masked_fill(ended, filler)
        input_ids = torch.cat((input_ids, new[:, None]), dim=1)
        if attention_mask is not None:
            attention_mask = F.pad(attention_mask, (0, 1), value=1)
        ended |= new == eos
        if ended.all():
            break
    return input_ids
