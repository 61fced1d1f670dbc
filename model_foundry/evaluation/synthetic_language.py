"""Evaluation on the built-in language: entropy, minimal pairs and grammar."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.evaluation.minimal_pairs import minimal_pair_accuracy
from model_foundry.generation import generate_texts
from model_foundry.synthetic_language import load_language

logger = logging.getLogger(__name__)

PAIRS = 200  # per phenomenon; the standard error of an accuracy is then at most 3.5 points
SENTENCES = 3
LONGEST_SENTENCE = 60  # tokens


@dataclass(frozen=True)
class LanguageReport:
    """A model beside the language that it was trained on."""

    floor_bits_per_byte: float | None
    """Entropy of the language: no causal model can do better in expectation. None: the validation
    loss is none of the language's, or not one that the entropy bounds."""
    minimal_pairs: dict[str, float]
    """Accuracy by phenomenon, chance 0.5; empty for a model that fills masks."""
    pairs: dict[str, int]
    """Minimal pairs of each phenomenon: those whose sentences fit into the model's positions."""
    sentences: list[tuple[str, bool]]
    """Sentences of the model, and whether the grammar accepts them; empty as above."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "LanguageReport":
        """Make a report of what `as_json` returned."""
        sentences = [(text, accepted) for text, accepted in values["sentences"]]
        return cls(**(values | {"sentences": sentences}))


def measure_language(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    bounded: bool = True,
) -> LanguageReport:
    """Measure a model on minimal pairs and sentences drawn with `seed`.

    Args:
        bounded: True if the entropy of the language bounds the validation loss: that of a causal
            objective, on unchanged text of the language.
    """
    language = load_language()
    floor = language.entropy.bits_per_byte if bounded else None
    if not model.supports_generation:
        return LanguageReport(floor, {}, {}, [])
    drawn = {
        name: _fitting(model, tokenizer, language.minimal_pairs(name, pairs=PAIRS, seed=seed))
        for name in language.phenomena
    }
    pairs = {name: fitting for name, fitting in drawn.items() if fitting}
    if (left := sum(PAIRS - len(fitting) for fitting in drawn.values())) > 0:
        logger.warning(
            "%d of %d minimal pairs are longer than the %s positions of the model; left out",
            *(left, PAIRS * len(drawn), model.num_positions),
        )
    accuracies = {
        name: minimal_pair_accuracy(model, tokenizer, fitting) for name, fitting in pairs.items()
    }
    counts = {name: len(fitting) for name, fitting in pairs.items()}
    texts = generate_texts(
        model, tokenizer, [""] * SENTENCES, max_new_tokens=LONGEST_SENTENCE, seed=seed
    )
    sentences = [(text, language.accepts(text)) for text in texts]
    return LanguageReport(floor, accuracies, counts, sentences)


def _fitting(
    model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase, pairs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the pairs both sentences of which fit into the positions of a model."""
    if model.num_positions is None:
        return pairs
    begin, end = document_frame(tokenizer)
    room = model.num_positions - len(begin or end)
    keys = ("sentence_good", "sentence_bad")
    return [
        pair
        for pair in pairs
        if all(len(ids) <= room for ids in _ids(tokenizer, [pair[key] for key in keys]))
    ]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)
    ids: list[list[int]] = encoded["input_ids"]
    return ids
