"""Properties of minimal pairs, for each phenomenon of the built-in language."""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language import Language, load_language

from .grammars import FIVE_SENTENCES, RECURSIVE

PHENOMENA = load_language().phenomena
AGREEMENT = "subject_verb_agreement_"


def test_the_documented_phenomena_are_there(english: Language) -> None:
    assert {
        "subject_verb_agreement_simple",
        "subject_verb_agreement_prepositional_attractor",
        "subject_verb_agreement_relative_attractor",
        "determiner_noun_agreement",
    } <= set(english.phenomena)


@pytest.mark.parametrize("phenomenon", PHENOMENA)
def test_pairs_are_distinct_and_differ_in_one_word(english: Language, phenomenon: str) -> None:
    pairs = english.minimal_pairs(phenomenon, pairs=300, seed=2)
    assert len({(pair["sentence_good"], pair["sentence_bad"]) for pair in pairs}) == 300
    for pair in pairs:
        good, bad = pair["sentence_good"].split(), pair["sentence_bad"].split()
        assert len(good) == len(bad)
        assert sum(g != b for g, b in zip(good, bad, strict=True)) == 1
        assert english.accepts(pair["sentence_good"])
        assert not english.accepts(pair["sentence_bad"])


@pytest.mark.parametrize("phenomenon", PHENOMENA)
def test_pairs_have_the_fields_and_types_of_blimp(english: Language, phenomenon: str) -> None:
    types = {
        "sentence_good": str,
        "sentence_bad": str,
        "one_prefix_prefix": str,
        "one_prefix_word_good": str,
        "one_prefix_word_bad": str,
        "field": str,
        "linguistics_term": str,
        "UID": str,
        "simple_LM_method": bool,
        "one_prefix_method": bool,
        "two_prefix_method": bool,
        "lexically_identical": bool,
        "pairID": str,
    }
    pairs = english.minimal_pairs(phenomenon, pairs=50, seed=3)
    assert json.loads(json.dumps(pairs)) == pairs
    assert [pair["pairID"] for pair in pairs] == [str(number) for number in range(50)]
    for pair in pairs:
        assert pair["UID"] == phenomenon
        if pair["one_prefix_method"]:
            prefix = pair["one_prefix_prefix"]
            assert pair["sentence_good"].startswith(f"{prefix} {pair['one_prefix_word_good']}")
            assert pair["sentence_bad"].startswith(f"{prefix} {pair['one_prefix_word_bad']}")
            assert {key: type(value) for key, value in pair.items()} == types


def _number_of_nouns(language: Language) -> dict[str, str]:
    return {
        word: symbol.split("[")[1].split(",")[0]
        for symbol, category in language.grammar.lexicon.items()
        if symbol.startswith("Noun[")
        for word in category.words
    }


def test_contrasted_words_are_forms_of_one_lemma(english: Language) -> None:
    lemma = {
        word: (symbol.split("[")[0], position)
        for symbol, category in english.grammar.lexicon.items()
        for position, word in enumerate(category.words)
    }
    for phenomenon in english.phenomena:
        if phenomenon.startswith("reflexive"):
            continue  # `herself` and `themselves` are not listed as forms of one word
        for pair in english.minimal_pairs(phenomenon, pairs=100, seed=8):
            for good, bad in zip(
                pair["sentence_good"].rstrip(".").split(),
                pair["sentence_bad"].rstrip(".").split(),
                strict=True,
            ):
                assert good == bad or lemma[good.lower()] == lemma[bad.lower()]


@pytest.mark.parametrize("phenomenon", [p for p in PHENOMENA if p.endswith("attractor")])
def test_attractors_mismatch_the_subject(english: Language, phenomenon: str) -> None:
    number = _number_of_nouns(english)
    for pair in english.minimal_pairs(phenomenon, pairs=300, seed=4):
        words = pair["one_prefix_prefix"].lower().split()
        subject, attractor = (number[word] for word in words if word in number)
        assert subject != attractor


@pytest.mark.parametrize("phenomenon", [p for p in PHENOMENA if p.startswith(AGREEMENT)])
def test_both_numbers_are_equally_frequent(english: Language, phenomenon: str) -> None:
    number = _number_of_nouns(english)
    subjects = Counter(
        next(number[word] for word in pair["sentence_good"].lower().split() if word in number)
        for pair in english.minimal_pairs(phenomenon, pairs=1000, seed=5)
    )
    assert 420 < subjects["sg"] < 580


def test_first_pairs_do_not_depend_on_how_many_are_drawn(english: Language) -> None:
    phenomenon = english.phenomena[0]
    long = english.minimal_pairs(phenomenon, pairs=80, seed=6)
    assert english.minimal_pairs(phenomenon, pairs=30, seed=6) == long[:30]
    assert english.minimal_pairs(phenomenon, pairs=30, seed=7) != long[:30]


def test_an_unknown_phenomenon_is_refused_with_the_known_ones(english: Language) -> None:
    with pytest.raises(ConfigError, match=r"wh_island.*determiner_noun_agreement"):
        english.minimal_pairs("wh_island", pairs=1, seed=0)


def test_asking_for_more_pairs_than_there_are_ends(language_of: Callable[[str], Language]) -> None:
    language = language_of(FIVE_SENTENCES)
    assert len(language.minimal_pairs("agreement", pairs=4, seed=0)) == 4
    with pytest.raises(ConfigError, match="no more than 4 distinct pairs"):
        language.minimal_pairs("agreement", pairs=5, seed=0)


def test_a_moved_word_is_a_contrast_of_the_same_words(
    language_of: Callable[[str], Language],
) -> None:
    language = language_of(RECURSIVE.replace("Word: ja ok", "Word: ja"))
    (pair,) = language.minimal_pairs("order", pairs=1, seed=0)
    assert (pair["sentence_good"], pair["sentence_bad"]) == ("Very ja.", "Ja very.")
    assert pair["lexically_identical"]
    assert not pair["one_prefix_method"]
    assert "one_prefix_prefix" not in pair


def test_a_definition_that_contrasts_nothing_is_refused(
    language_of: Callable[[str], Language],
) -> None:
    text = FIVE_SENTENCES.replace('"the Noun[n] Verb[!n]"', '"the Noun[!n] Verb[!n]"')
    with pytest.raises(ConfigError, match=r"phenomena\.agreement: .* reject"):
        language_of(text).minimal_pairs("agreement", pairs=1, seed=0)


def test_a_word_against_a_longer_symbol_is_refused(
    language_of: Callable[[str], Language],
) -> None:
    text = FIVE_SENTENCES.replace('"the Noun[n] Verb[!n]"', '"the Noun[n] Sentence"')
    with pytest.raises(ConfigError, match="equally many words"):
        language_of(text).minimal_pairs("agreement", pairs=1, seed=0)
