"""Metrics of written sequences: BLEU, chrF, ROUGE, and the share of exact matches.

Each compares texts that the model writes with those of the data, so it generates on every batch;
its sums add up over batches and processes as over one corpus.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor

from model_foundry.errors import ConfigError
from model_foundry.objectives.forward_pass import ForwardPass
from model_foundry.objectives.metrics import Metric, Sums

ORDERS = 4  # of the n-grams of BLEU
CHARACTERS, BETA = 6, 2  # order of the n-grams of chrF, and the weight of recall


class Writes(Protocol):
    """An objective whose model writes texts."""

    def written(self, done: ForwardPass) -> tuple[list[str], list[str]]:
        """Return the texts that the model writes for a batch, and those of the data."""


class TextMetric(Metric):
    """A metric of written texts."""

    name: str
    """Its name in `training.metrics`."""

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the sums of a batch, in fp64."""
        objective: Any = self.objective
        if not hasattr(objective, "written"):
            law = f"{objective.spec.name!r} writes no texts"
            raise ConfigError(f"training.metrics: {law}; leave out {self.name!r}")
        return torch.tensor(self.counts(*objective.written(done)), dtype=torch.float64)

    @abstractmethod
    def counts(self, texts: list[str], references: list[str]) -> Sequence[float]:
        """Return what is added up over texts and their references."""

    def imported(self, module: str) -> Any:
        """Import a module of the extra `translation`, which takes most of a second.

        Raises:
            ConfigError: it is not installed.
        """
        try:
            return import_module(module)
        except ImportError as error:
            package = module.partition(".")[0].replace("_", "-")
            law = f"{self.name!r} needs {package}; pip install 'model-foundry[translation]'"
            raise ConfigError(f"training.metrics: {law}, or leave it out") from error


class Bleu(TextMetric):
    """BLEU of a corpus (Papineni et al. 2002), tokenized as `13a` by sacrebleu (Post 2018,
    arXiv:1804.08771), in percent."""

    name = "bleu"

    def counts(self, texts: list[str], references: list[str]) -> list[int]:
        score = self._bleu().corpus_score(texts, [references])
        return [*score.counts, *score.totals, score.sys_len, score.ref_len]

    def result(self, sums: Sums) -> float:
        counts = [round(value) for value in sums]
        score = self._bleu().compute_bleu(
            counts[:ORDERS], counts[ORDERS : 2 * ORDERS], *counts[2 * ORDERS :], smooth_method="exp"
        )
        return float(score.score)

    def _bleu(self) -> Any:
        return self.imported("sacrebleu.metrics").BLEU()


class ChrF(TextMetric):
    """chrF of a corpus: the F2 score of character n-grams up to six, without spaces (Popović 2015),
    in percent."""

    name = "chrf"

    def counts(self, texts: list[str], references: list[str]) -> list[int]:
        totals = torch.zeros(CHARACTERS, 3, dtype=torch.int64)
        for text, reference in zip(texts, references, strict=True):
            totals += torch.tensor([_matches(text, reference, n + 1) for n in range(CHARACTERS)])
        return totals.flatten().tolist()

    def result(self, sums: Sums) -> float:
        counted = sums.reshape(CHARACTERS, 3)
        written, wanted, common = counted[(counted[:, :2] > 0).all(1)].T
        if not common.any():
            return 0.0
        precision, recall = (common / written).mean(), (common / wanted).mean()
        return float(100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall))


def _matches(text: str, reference: str, order: int) -> tuple[int, int, int]:
    """Return the numbers of n-grams of a text, of its reference, and of those in both.

    A text whose reference is too short for such n-grams counts none, as in sacrebleu.
    """
    written, wanted = (_ngrams("".join(each.split()), order) for each in (text, reference))
    return written.total() if wanted else 0, wanted.total(), (written & wanted).total()


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


class _Rouge(TextMetric):
    """The mean F1 of ROUGE by the package rouge-score, in percent.

    Words are lower-cased and not stemmed; only a-z and 0-9 are letters.
    """

    def counts(self, texts: list[str], references: list[str]) -> list[float]:
        scorer = self.imported("rouge_score.rouge_scorer").RougeScorer([self.name])
        pairs = zip(texts, references, strict=True)
        scores = [scorer.score(target=wanted, prediction=text) for text, wanted in pairs]
        return [sum(score[self.name].fmeasure for score in scores), len(scores)]

    def result(self, sums: Sums) -> float:
        return float(100 * sums[0] / sums[1])


class Rouge1(_Rouge):
    """ROUGE-1: words in common (Lin 2004); see `_Rouge`."""

    name = "rouge1"


class Rouge2(_Rouge):
    """ROUGE-2: pairs of adjacent words in common."""

    name = "rouge2"


class RougeL(_Rouge):
    """ROUGE-L: the longest common subsequence of words."""

    name = "rougeL"


class ExactMatch(TextMetric):
    """The share of the written texts that are those of the data."""

    name = "exact_match"

    def counts(self, texts: list[str], references: list[str]) -> list[int]:
        equal = sum(text == reference for text, reference in zip(texts, references, strict=True))
        return [equal, len(texts)]

    def result(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])
