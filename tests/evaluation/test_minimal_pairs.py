"""Sentence probabilities, compared with the loss of the model; accuracies."""

import logging
import math
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model_foundry.evaluation import minimal_pairs
from model_foundry.evaluation.minimal_pairs import (
    minimal_pair_accuracy,
    sentence_log_probabilities,
)
from model_foundry.model import create_model
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import tiny_experiment

SENTENCES = ["the fox jumps.", "the dogs jump over it.", "no", "</s> is text here"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_character(documents=SENTENCES)


@pytest.mark.parametrize("kind", ["gpt2", "lstm", "gru", "rnn"])
def test_score_is_the_sum_of_token_log_probabilities(
    kind: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Compare with the model's mean loss of one unpadded sentence, times its tokens."""
    config = tiny_experiment(kind, tmp_path, "data.max_sequence_length=32")
    model = create_model(config, tokenizer=tokenizer).eval()
    scores = sentence_log_probabilities(model, tokenizer, SENTENCES, batch_size=3)
    for sentence, score in zip(SENTENCES, scores, strict=True):
        ids = torch.tensor([tokenizer(sentence, split_special_tokens=True)["input_ids"]])
        assert ids[0, 0] == tokenizer.bos_token_id
        loss = model(ids, labels=ids).loss.item()
        assert score == pytest.approx(-loss * (ids.shape[1] - 1), rel=1e-5)


def test_sentence_longer_than_the_positions_is_left_out_and_reported(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    model = create_model(tiny_experiment("gpt2", tmp_path), tokenizer=tokenizer)
    scores = sentence_log_probabilities(model, tokenizer, SENTENCES[:3])
    assert [math.isnan(score) for score in scores] == [False, True, False]
    pairs = [{"sentence_good": SENTENCES[0], "sentence_bad": SENTENCES[1]}]
    with caplog.at_level(logging.WARNING):
        assert math.isnan(minimal_pair_accuracy(model, tokenizer, pairs))
    assert "1 of 1 minimal pairs are longer than the 16 positions" in caplog.text


def test_only_a_strictly_likelier_good_sentence_counts(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model(tiny_experiment("gpt2", tmp_path), tokenizer=tokenizer)
    scores = [-1.0, -2.0, -3.0, -3.0, -5.0, -4.0, -1.0, -9.0]  # won, tied, lost, won
    monkeypatch.setattr(minimal_pairs, "sentence_log_probabilities", lambda *_: scores)
    pairs = [{"sentence_good": "a", "sentence_bad": "b"}] * 4
    assert minimal_pair_accuracy(model, tokenizer, pairs) == 0.5
