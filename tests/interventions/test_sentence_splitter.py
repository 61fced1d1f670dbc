"""Sentence splitting: examples, and properties on random text."""

import random

import pytest

from model_foundry.interventions.sentence_splitter import body, sentences
from tests.waiting import computing_less_than


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One. Two!", ["One. ", "Two!"]),
        ("one . two ?  three", ["one . ", "two ?  ", "three"]),
        ("you want it\nno .\n", ["you want it\n", "no .\n"]),
        ("A heading\n\n  Text.", ["A heading\n\n  ", "Text."]),
        ("\n\n First. Second.", ["\n\n First. ", "Second."]),
        ("Dr. J. Smith met Mr. Ho, i.e. him. He left.", None),
        ("It was I. You knew.", ["It was I. ", "You knew."]),
        ('"Stop!" he said. "Why?" She left.', ['"Stop!" he said. ', '"Why?" ', "She left."]),
        ("What?! (Yes.) Well... no", ["What?! ", "(Yes.) ", "Well... ", "no"]),
        ("It is 3.5 at a.b.c today. Ok", ["It is 3.5 at a.b.c today. ", "Ok"]),
        ("\u884c\u304f\u3002\u6765\u308b\uff01", ["\u884c\u304f\u3002", "\u6765\u308b\uff01"]),
        ("Mr... He left.", ["Mr... ", "He left."]),
        ("Mr.\nSmith", ["Mr.\n", "Smith"]),
        ("   ", ["   "]),
    ],
)
def test_sentences(text: str, expected: list[str] | None) -> None:
    expected = expected or ["Dr. J. Smith met Mr. Ho, i.e. him. ", "He left."] if text else []
    assert list(sentences(text)) == expected


def test_sentences_joined_are_the_text_and_none_is_blank_beside_others() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(rng.choices("aB.!?\"') \n\u2026\u3002i", k=rng.randrange(30)))
        found = sentences(text)
        assert "".join(found) == text
        assert len(found) <= 1 or not any(sentence.isspace() for sentence in found), repr(text)
        assert all("".join(body(sentence)) == sentence for sentence in found)


@pytest.mark.parametrize("unit", [".", " ", "\n", '."', "\u3002", "a.", "'"])
def test_time_is_linear_in_the_text(unit: str) -> None:
    with computing_less_than(2):  # quadratic, it would be minutes
        sentences(unit * 200_000 + "x")
