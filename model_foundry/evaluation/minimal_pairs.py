"""Accuracy on minimal pairs (Warstadt et al. 2020, arXiv:1912.00582) of causal models."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel, device_of
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

    It follows BOS or the end of another document, as in training. A sentence longer than the
    positions of the model gets NaN.
    """
    before = text_prefix(tokenizer)
    encoded = tokenizer(list(sentences), add_special_tokens=False, split_special_tokens=True)
    rows = [before + ids for ids in encoded["input_ids"]]
    limit = model.num_positions or math.inf
    fitting = [index for index, row in enumerate(rows) if len(row) <= limit]
    scores = [math.nan] * len(rows)
    for start in range(0, len(fitting), batch_size):
        part = fitting[start : start + batch_size]
        found = _score(model, [rows[index] for index in part], given=len(before))
        for index, score in zip(part, found, strict=True):
            scores[index] = score
    return scores


def _score(model: BaseLanguageModel, rows: list[list[int]], *, given: int) -> list[float]:
    """Return the sum of the log-probabilities of each row after its first `given` tokens."""
    device = device_of(model)
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


def pair_scores(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Mapping[str, Any]],
) -> list[tuple[float, float]]:
    """Return the log-probabilities of the sentences of each pair within the model's positions."""
    sentences = [pair[key] for pair in pairs for key in ("sentence_good", "sentence_bad")]
    scores = sentence_log_probabilities(model, tokenizer, sentences)
    both = zip(scores[0::2], scores[1::2], strict=True)
    return [(good, bad) for good, bad in both if not math.isnan(good + bad)]


def accuracy(scores: Sequence[tuple[float, float]]) -> float:
    """Return the share of pairs whose good sentence is strictly likelier; NaN without pairs."""
    return sum(good > bad for good, bad in scores) / len(scores) if scores else math.nan


def warn_of_long_pairs(model: BaseLanguageModel, *, left_out: int, pairs: int) -> None:
    """Warn if pairs were left out because they are longer than the positions of the model."""
    if left_out:
        logger.warning(
            "%d of %d minimal pairs are longer than the %s positions of the model; left out",
            *(left_out, pairs, model.num_positions),
        )


def minimal_pair_accuracy(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Mapping[str, Any]],
) -> float:
    """Return the share of pairs whose good sentence is strictly likelier; a tie is a failure.

    Pairs longer than the positions of the model are left out, with a warning; if none is left, the
    result is NaN.

    Args:
        pairs: with `sentence_good` and `sentence_bad`, as in BLiMP's files. Chance is 0.5.

    Raises:
        ConfigError: the model is masked, so it gives sentences no probability.
    """
    if not model.is_causal:
        raise ConfigError(
            f"minimal pairs: {model.model_type!r} reads both ways and gives no sentence a "
            "probability; use a causal model"
        )
    scores = pair_scores(model, tokenizer, pairs)
    warn_of_long_pairs(model, left_out=len(pairs) - len(scores), pairs=len(pairs))
    return accuracy(scores)
