"""How a model fares on the built-in language: its entropy, its minimal pairs, its grammar."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.evaluation.minimal_pairs import minimal_pair_accuracy
from model_foundry.generation import generate_texts
from model_foundry.language import load_language

PAIRS = 200  # per phenomenon; the standard error of an accuracy is then at most 3.5 points
SENTENCES = 3
LONGEST_SENTENCE = 60  # tokens


@dataclass(frozen=True)
class LanguageReport:
    """A model beside the language that it was trained on."""

    floor_bits_per_byte: float
    """Entropy of the language: no model can do better in expectation."""
    minimal_pairs: dict[str, float]
    """Accuracy by phenomenon, chance 0.5; empty for a model that fills masks, and without those
    whose sentences are longer than the model's positions."""
    pairs: int
    """Minimal pairs of each phenomenon."""
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
    model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> LanguageReport:
    """Measure a model on minimal pairs and sentences drawn with `seed`."""
    language = load_language()
    floor = language.entropy.bits_per_byte
    if not model.supports_generation:
        return LanguageReport(floor, {}, 0, [])
    accuracies = {
        name: minimal_pair_accuracy(
            model, tokenizer, language.minimal_pairs(name, pairs=PAIRS, seed=seed)
        )
        for name in language.phenomena
    }
    pairs = {name: value for name, value in accuracies.items() if not math.isnan(value)}
    texts = generate_texts(
        model, tokenizer, [""] * SENTENCES, max_new_tokens=LONGEST_SENTENCE, seed=seed
    )
    return LanguageReport(floor, pairs, PAIRS, [(text, language.accepts(text)) for text in texts])
