"""One derivation per sentence, exact probabilities and entropy, reproducible samples."""

import math
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest

from model_foundry.synthetic_language import Language

from .chart import inside, words_of
from .grammars import FIVE_SENTENCES, RECURSIVE


def test_each_sampled_sentence_has_one_derivation_with_its_probability(english: Language) -> None:
    for sentence in english.sample(300, seed=11):
        count, probability = inside(english.grammar, words_of(sentence, english.grammar))
        assert count == 1, sentence
        assert english.log_probability(sentence) == pytest.approx(math.log(probability), rel=1e-12)


def test_altered_sentences_are_accepted_as_by_the_oracle(english: Language) -> None:
    words_by_name = defaultdict(list)
    for symbol, category in english.grammar.lexicon.items():
        words_by_name[symbol.split("[")[0]] += category.words
    kin = {word: words for words in words_by_name.values() for word in words}
    generator = np.random.default_rng(5)
    accepted = Counter[bool]()
    for sentence in english.sample(300, seed=12):
        words = words_of(sentence, english.grammar)
        place = generator.integers(len(words))
        words[place] = generator.choice(kin[words[place]])  # often of another number or kind
        text = " ".join(words)
        judgement = english.accepts(f"{text[0].upper()}{text[1:]}.")
        assert judgement == (inside(english.grammar, words)[0] > 0), text
        accepted[judgement] += 1
    assert min(accepted.values()) > 50


def test_entropy_and_lengths_agree_with_a_sample(english: Language) -> None:
    sentences = list(english.sample(10_000, seed=13))
    entropy = english.entropy
    for expected, values in (
        (entropy.nats_per_sentence, [-english.log_probability(s) for s in sentences]),
        (entropy.words_per_sentence, [len(s.split()) for s in sentences]),
        (entropy.bytes_per_sentence, [len(s.encode()) for s in sentences]),
    ):
        standard_error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 4 * standard_error


def test_entropy_in_bits_is_per_word_and_per_byte(english: Language) -> None:
    entropy = english.entropy
    bits = entropy.nats_per_sentence / math.log(2)
    assert entropy.bits_per_word * entropy.words_per_sentence == pytest.approx(bits)
    assert entropy.bits_per_byte * entropy.bytes_per_sentence == pytest.approx(bits)


def test_finite_language_has_the_probabilities_worked_out_by_hand(
    language_of: Callable[[str], Language],
) -> None:
    language = language_of(FIVE_SENTENCES)
    expected = {
        "The dog runs.": 1 / 4,  # 3/4 for the rule, 1/2 for the number, 2/3 for the first noun
        "The mouse runs.": 1 / 8,
        "The dogs run.": 1 / 4,
        "The mice run.": 1 / 8,
        "Ann runs.": 1 / 4,
    }
    assert sum(expected.values()) == 1
    for sentence, probability in expected.items():
        assert language.log_probability(sentence) == pytest.approx(math.log(probability))
    drawn = Counter(language.sample(4000, seed=1))
    assert drawn.keys() == expected.keys()
    for sentence, probability in expected.items():
        spread = math.sqrt(4000 * probability * (1 - probability))
        assert abs(drawn[sentence] - 4000 * probability) < 4 * spread
    entropy = language.entropy
    assert entropy.nats_per_sentence == pytest.approx(
        -sum(p * math.log(p) for p in expected.values())
    )
    assert entropy.words_per_sentence == pytest.approx(3 * 3 / 4 + 2 / 4)
    assert entropy.bytes_per_sentence == pytest.approx(
        sum(p * len(sentence) for sentence, p in expected.items())
    )


def test_recursive_language_has_the_entropy_worked_out_by_hand(
    language_of: Callable[[str], Language],
) -> None:
    language = language_of(RECURSIVE)
    total = 0.0
    for depth in range(40):
        for word in ("ja", "ok"):
            text = " ".join(["very"] * depth + [word])
            total += math.exp(language.log_probability(f"{text[0].upper()}{text[1:]}."))
    assert total == pytest.approx(1.0, abs=1e-12)
    # The recursive rule is chosen among two 4/3 times a sentence, the last word once.
    nats = 4 / 3 * _binary_nats(1 / 4) + _binary_nats(1 / 3)
    assert language.entropy.nats_per_sentence == pytest.approx(nats)
    assert language.entropy.words_per_sentence == pytest.approx(4 / 3)
    assert language.entropy.bytes_per_sentence == pytest.approx(4 / 3 + 2 + 4 / 3)


def _binary_nats(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("The dogs chase a cat.", "The dogs chases a cat."),
        ("The dog near the houses chases a cat.", "The dog near the houses chase a cat."),
        ("The dogs that see the cat sleep.", "The dogs that see the cat sleeps."),
        ("The dogs that the cat sees sleep.", "The dogs that the cat sees sleeps."),
        ("These old dogs sleep.", "This old dogs sleep."),
        ("The girls see themselves.", "The girls see herself."),
        ("An owl sleeps.", "A owl sleeps."),
        ("The girl does not sleep.", "The girl do not sleep."),
        ("Mary says that the dogs sleep.", "Mary says that the dogs sleeps."),
    ],
)
def test_agreement_decides_what_is_a_sentence(english: Language, good: str, bad: str) -> None:
    assert english.accepts(good)
    assert not english.accepts(bad)
    assert english.log_probability(bad) == -math.inf


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "The dog sleeps",
        "the dog sleeps.",
        "The Dog sleeps.",
        "The  dog sleeps.",
        "The dog sleeps. ",
        "The dog sleeps..",
        "The dog.",
        "The unicorn sleeps.",
        "The dog sleeps.\n",
    ],
)
def test_other_text_than_an_exact_sentence_is_rejected(english: Language, text: str) -> None:
    assert english.accepts("The dog sleeps.")
    assert not english.accepts(text)


def test_first_sentences_do_not_depend_on_how_many_are_drawn(english: Language) -> None:
    long = list(english.sample(2000, seed=4))
    assert list(english.sample(700, seed=4)) == long[:700]
    assert list(islice(english.sample(10**12, seed=4), 20)) == long[:20]
    assert list(english.sample(50, seed=5)) != long[:50]


@pytest.mark.slow
def test_samples_are_the_same_in_another_process(english: Language) -> None:
    load = "from model_foundry.synthetic_language import load_language"
    code = f"{load}; print(*load_language().sample(200, seed=8))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == " ".join(english.sample(200, seed=8))


def test_sentences_look_like_english(english: Language) -> None:
    sentences = list(english.sample(5000, seed=6))
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z][a-z]*( [A-Za-z][a-z]*)+\.", sentence), sentence
    assert 7 <= np.mean([len(s.split()) for s in sentences]) <= 10
    assert len(set(sentences)) > 4500
    forms = {word.lower().rstrip(".") for s in sentences for word in s.split()}
    assert 300 <= len(forms) <= 450


def test_subjects_meet_attractors_of_both_numbers(english: Language) -> None:
    attracted = re.compile(r"The (\w+) (?:near|with|behind) the (\w+) (?:is|are)\b")
    numbers = {
        (_is_plural(english, match[1]), _is_plural(english, match[2]))
        for sentence in english.sample(30_000, seed=9)
        if (match := attracted.match(sentence))
    }
    assert len(numbers) == 4


def _is_plural(language: Language, noun: str) -> bool:
    return language.accepts(f"The {noun} are young.") or language.accepts(f"The {noun} are cheap.")
