"""Minimal pairs: is the good sentence likelier than the bad one? (Warstadt et al. 2020,
arXiv:1912.00582). For causal models, whose sentence probabilities are exact.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.packing import document_frame


def sentence_log_probabilities(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    *,
    batch_size: int = 64,
) -> list[float]:
    """Return the log-probability of each sentence as the beginning of a document, in nats.

    What stands before it is what stands there in training: BOS, or the end of another document.
    """
    frame = document_frame(tokenizer)
    before = frame["before"] or frame["after"]
    rows = [
        before + ids
        for ids in tokenizer(
            list(sentences), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
    ]
    scores: list[float] = []
    for start in range(0, len(rows), batch_size):
        scores += _score(model, rows[start : start + batch_size], given=len(before))
    return scores


def _score(model: BaseLanguageModel, rows: list[list[int]], *, given: int) -> list[float]:
    device = next(model.parameters()).device
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits  # (B, T, V)
    log_probabilities = logits[:, :-1].float().log_softmax(-1)  # (B, T-1, V)
    chosen = log_probabilities.gather(-1, ids[:, 1:, None]).squeeze(-1)  # (B, T-1)
    counted = mask[:, 1:].bool()
    counted[:, : given - 1] = False
    sums: list[float] = chosen.double().masked_fill(~counted, 0.0).sum(-1).tolist()
    return sums


def minimal_pair_accuracy(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Mapping[str, Any]],
) -> float:
    """Return the share of pairs whose good sentence is strictly likelier; a tie is a failure.

    Args:
        pairs: with `sentence_good` and `sentence_bad`, as in BLiMP's files. Chance is 0.5.
    """
    sentences = [pair[key] for pair in pairs for key in ("sentence_good", "sentence_bad")]
    scores = sentence_log_probabilities(model, tokenizer, sentences)
    good, bad = scores[0::2], scores[1::2]
    return sum(g > b for g, b in zip(good, bad, strict=True)) / len(pairs)
