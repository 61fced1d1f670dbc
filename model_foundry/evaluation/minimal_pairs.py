"""Minimal pairs: is the good sentence likelier than the bad one? (Warstadt et al. 2020,
arXiv:1912.00582). For causal models, whose sentence probabilities are exact.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.tokens.document_frame import text_prefix
from model_foundry.errors import ConfigError

logger = logging.getLogger(__name__)


def sentence_log_probabilities(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    *,
    batch_size: int = 64,
) -> list[float]:
    """Return the log-probability of each sentence as the beginning of a document, in nats.

    It follows BOS or the end of another document, as in training. A sentence with more tokens than
    the model has positions gets NaN.
    """
    given, rows = _rows(tokenizer, sentences)
    limit = model.num_positions or math.inf
    fitting = [index for index, row in enumerate(rows) if len(row) <= limit]
    scores = [math.nan] * len(rows)
    for start in range(0, len(fitting), batch_size):
        part = fitting[start : start + batch_size]
        found = _score(model, [rows[index] for index in part], given=given)
        for index, score in zip(part, found, strict=True):
            scores[index] = score
    return scores


def _rows(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]
) -> tuple[int, list[list[int]]]:
    """Return how many ids stand before each sentence, and the ids of each with these."""
    before = text_prefix(tokenizer)
    encoded = tokenizer(list(sentences), add_special_tokens=False, split_special_tokens=True)
    return len(before), [before + ids for ids in encoded["input_ids"]]


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

    Pairs that do not fit into the model's positions are left out, which is reported as a warning;
    where none fits, the result is NaN.

    Args:
        pairs: with `sentence_good` and `sentence_bad`, as in BLiMP's files. Chance is 0.5.

    Raises:
        ConfigError: the model fills masks, and so gives no sentence a probability.
    """
    if not model.is_causal:
        raise ConfigError(
            f"minimal pairs: {model.model_type!r} reads both ways and gives no sentence a "
            "probability; use a causal model"
        )
    sentences = [pair[key] for pair in pairs for key in ("sentence_good", "sentence_bad")]
    scores = sentence_log_probabilities(model, tokenizer, sentences)
    scored = [
        (good, bad)
        for good, bad in zip(scores[0::2], scores[1::2], strict=True)
        if not math.isnan(good + bad)
    ]
    if len(scored) < len(pairs):
        logger.warning(
            "%d of %d minimal pairs are longer than the %s positions of the model; left out",
            len(pairs) - len(scored),
            len(pairs),
            model.num_positions,
        )
    return sum(good > bad for good, bad in scored) / len(scored) if scored else math.nan
