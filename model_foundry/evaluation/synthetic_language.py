"""Evaluation on the built-in language: entropy, minimal pairs and sentences."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.errors import Interrupted
from model_foundry.evaluation.minimal_pairs import accuracy, pair_scores, warn_of_long_pairs
from model_foundry.foundation.messages import reason_of
from model_foundry.generation import generate_texts
from model_foundry.synthetic_language import load_language

logger = logging.getLogger(__name__)

PAIRS = 200  # per phenomenon; the standard error of an accuracy is then at most 3.5 points
SENTENCES = 3
LONGEST_SENTENCE = 60  # tokens


@dataclass(frozen=True)
class LanguageReport:
    """Measurements of a model on the built-in language."""

    floor_bits_per_byte: float | None
    """Entropy of the language, a lower bound of the expected loss of causal models. None: it is not
    a bound of this validation loss."""
    minimal_pairs: dict[str, float]
    """Accuracy by phenomenon, chance 0.5; empty for masked models."""
    pairs: dict[str, int]
    """Number of minimal pairs by phenomenon, without those longer than the model's positions."""
    sentences: list[tuple[str, bool]]
    """Sentences of the model, True if the grammar accepts them; empty for masked models."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "LanguageReport":
        """Create a report from the result of `as_json`."""
        sentences = [(text, accepted) for text, accepted in values["sentences"]]
        return cls(**(values | {"sentences": sentences}))


def measure_language(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    bounded: bool = True,
    pairs: int = PAIRS,
) -> LanguageReport:
    """Measure a model on minimal pairs and sentences drawn with `seed`.

    Args:
        bounded: True if the entropy of the language is a lower bound of the validation loss: with a
            causal objective, on unchanged text of the language.
        pairs: minimal pairs of each phenomenon.
    """
    language = load_language()
    floor = language.entropy.bits_per_byte if bounded else None
    if not model.supports_generation:
        return LanguageReport(floor, {}, {}, [])
    scores = {
        name: pair_scores(model, tokenizer, language.minimal_pairs(name, pairs=pairs, seed=seed))
        for name in language.phenomena
    }
    total = pairs * len(scores)
    warn_of_long_pairs(model, left_out=total - sum(map(len, scores.values())), pairs=total)
    scores = {name: fitting for name, fitting in scores.items() if fitting}
    accuracies = {name: accuracy(fitting) for name, fitting in scores.items()}
    counts = {name: len(fitting) for name, fitting in scores.items()}
    sentences = [(text, language.accepts(text)) for text in _sentences(model, tokenizer, seed)]
    return LanguageReport(floor, accuracies, counts, sentences)


def _sentences(
    model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase, seed: int
) -> list[str]:
    """Return sentences of the model; none, with a warning, if it cannot generate.

    They come last in a run, whose training a failure must not lose.
    """
    prompts = [""] * SENTENCES
    try:
        return generate_texts(model, tokenizer, prompts, max_new_tokens=LONGEST_SENTENCE, seed=seed)
    except Interrupted:
        raise
    except Exception as error:  # of whatever network
        logger.warning("no sentences of the model, which cannot generate: %s", reason_of(error))
        return []
