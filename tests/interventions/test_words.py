"""Steps on words."""

from collections import Counter

import pytest

from model_foundry.interventions.words import delete_words, replace_words, shuffle_words


def test_reversal_leaves_the_last_mark_and_the_white_space() -> None:
    text = 'The cat, she  sat. "Go home!"\nYes ?'
    expected = 'sat she cat,  The. home "Go!"\nYes ?'
    assert shuffle_words(text, seed=0, index=0, how="reverse") == expected


def test_full_shuffle_keeps_the_words_of_each_sentence() -> None:
    text = "a b c d e f g hh. i j k l m n o p!\n"
    first, second, _ = shuffle_words(text, seed=1, index=0).replace("!", ".").split(".")
    assert Counter(first.split()) == Counter([*"abcdefg", "hh"])
    assert Counter(second.split()) == Counter("ijklmnop")
    assert first.split() != [*"abcdefg", "hh"]
    assert shuffle_words(text, seed=1, index=0) != shuffle_words(text, seed=1, index=1)
    assert shuffle_words(text, seed=1, index=0) != shuffle_words(text, seed=2, index=0)


def test_sentences_of_one_length_are_permuted_differently() -> None:
    text = "\n".join(["a b c d e f g h i j"] * 5)
    assert len(set(shuffle_words(text, seed=1, index=0).splitlines())) == 5


def test_words_stay_in_their_window() -> None:
    shuffled = shuffle_words(" ".join("abcdefgh") + ".", seed=3, index=0, how="window", window=3)
    words = shuffled.rstrip(".").split()
    assert [set(words[at : at + 3]) for at in (0, 3, 6)] == [set("abc"), set("def"), set("gh")]
    assert words != list("abcdefgh")


def test_all_permutations_are_equally_likely() -> None:
    drawn = Counter(shuffle_words("a b c.", seed=5, index=index) for index in range(6000))
    assert len(drawn) == 6
    assert all(880 < number < 1120 for number in drawn.values())  # 1000 +- 4 sigma


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The big dog", "The dog"),
        ("big big dog\nbig cat", "dog\ncat"),
        ("so big, big.", "so,."),
        ("bigger big-eyed Big", "bigger big-eyed Big"),
        ("(big dog)", "(dog)"),
        ("big", ""),
        ("a  big  dog", "a  dog"),
    ],
)
def test_deleted_words(text: str, expected: str) -> None:
    assert delete_words(text, words=frozenset({"big"})) == expected


def test_case_and_apostrophes_of_deleted_words() -> None:
    words = frozenset({"don't", "the"})
    assert delete_words("The dogs don't bark", words=words) == "The dogs bark"
    assert delete_words("The dogs DON'T bark", words=words, ignore_case=True) == "dogs bark"


def test_replaced_words_are_not_replaced_again() -> None:
    assert replace_words("a b, ab", words={"a": "b", "b": "a"}) == "b a, ab"
    assert replace_words("well-known, well", words={"well": "ill"}) == "well-known, ill"
    assert replace_words("Yes YES yes", words={"yes": "no"}, ignore_case=True) == "no no no"
