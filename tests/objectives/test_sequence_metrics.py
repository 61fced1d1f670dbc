"""BLEU and chrF of sacrebleu, ROUGE of rouge-score, and exact matches, in batches of any size."""

import random
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator
from sacrebleu.metrics import BLEU, CHRF

from model_foundry.config import METRICS
from model_foundry.errors import ConfigError
from model_foundry.objectives.sequence_metrics import Bleu, ChrF, ExactMatch, TextMetric

WORDS = ["a", "dog", "cat", "sat", "on", "the", "mat's,", "new-York", "café", "3.5", ".", "!", "犬"]


def texts(number: int, *, longest: int = 12) -> tuple[list[str], list[str]]:
    """Return texts from which words are missing, and those that they should be."""
    draw = random.Random(0)
    wanted = [" ".join(draw.choices(WORDS, k=draw.randint(0, longest))) for _ in range(number)]
    kept = [" ".join(w for w in text.split() if draw.random() < 0.8) for text in wanted]
    return kept, wanted


def measured(cls: type[TextMetric], found: list[str], wanted: list[str], rows: int) -> float:
    objective: Any = SimpleNamespace(written=lambda batch: batch)
    metric = cls(objective)
    batches = [(found[n : n + rows], wanted[n : n + rows]) for n in range(0, len(found), rows)]
    sums: Any = [metric.sums(batch) for batch in batches]  # type: ignore[arg-type]
    assert all(each.dtype == torch.float64 for each in sums)
    result = metric.result(np.stack([each.numpy() for each in sums]).sum(0))
    assert isinstance(result, float)
    return result


@pytest.mark.parametrize("rows", [1, 7, 60])
@pytest.mark.parametrize(("cls", "oracle"), [(Bleu, BLEU()), (ChrF, CHRF())])
def test_a_corpus_in_batches_has_the_score_of_sacrebleu(
    cls: type[TextMetric], oracle: Any, rows: int
) -> None:
    found, wanted = texts(60)
    expected = oracle.corpus_score(found, [wanted]).score
    assert 10 < expected < 90
    assert measured(cls, found, wanted, rows) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("cls", "oracle"), [(Bleu, BLEU()), (ChrF, CHRF())])
@pytest.mark.parametrize(
    ("found", "wanted"),
    [(["b"], ["a"]), (["", "a"], ["a", ""]), (["a b"], ["a b"]), (["a b"], ["a c"])],
)
def test_texts_without_common_or_any_ngrams(
    found: list[str], wanted: list[str], cls: type[TextMetric], oracle: Any
) -> None:
    expected = oracle.corpus_score(found, [wanted]).score
    assert measured(cls, found, wanted, 1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 60])
@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL"])
def test_a_corpus_in_batches_has_the_mean_of_rouge_score(name: str, rows: int) -> None:
    found, wanted = texts(60)
    found[3], wanted[5] = "", ""
    scorer = RougeScorer([name])
    scores = [scorer.score(w, f) for f, w in zip(found, wanted, strict=True)]
    expected = 100 * np.mean([score[name].fmeasure for score in scores])
    assert 20 < expected < 90
    result = measured(METRICS.load(name), found, wanted, rows)
    assert result == pytest.approx(expected, rel=1e-12)
    aggregator = BootstrapAggregator()
    for score in scores:
        aggregator.add_scores(score)
    interval = aggregator.aggregate()[name]
    assert 100 * interval.low.fmeasure < result < 100 * interval.high.fmeasure


def test_exact_matches_are_counted() -> None:
    assert measured(ExactMatch, ["a b", "a", "c"], ["a b", "a ", "c"], 2) == pytest.approx(2 / 3)


def test_a_task_that_writes_nothing_is_refused() -> None:
    objective: Any = SimpleNamespace(spec=SimpleNamespace(name="causal_lm"))
    with pytest.raises(ConfigError, match="'causal_lm' writes no texts; leave out 'bleu'"):
        Bleu(objective).sums(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "package"), [("bleu", "sacrebleu.metrics"), ("rougeL", "rouge_score.rouge_scorer")]
)
def test_a_package_that_is_missing_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    known = package.split(".")[0].replace("_", "-")
    with pytest.raises(ConfigError, match=rf"'{name}' needs {known}; pip install 'model-foundry"):
        measured(METRICS.load(name), ["a"], ["a"], 1)
