"""Patterns and their plain symbols: variables, complements and numbered variables."""

import pytest

from model_foundry.synthetic_language.patterns import Variables, read_patterns

VARIABLES = Variables({"n": {"sg": 3, "pl": 1}, "k": {"man": 1, "dog": 1, "cup": 2}})


def _symbols(text: str) -> list[str]:
    patterns = read_patterns(text, where="test")
    assignments = VARIABLES.assignments(patterns, where="test")
    return [" ".join(pattern.bind(a) for pattern in patterns) for a in assignments]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A that", ["A that"]),
        ("A[n] B[n]", ["A[sg] B[sg]", "A[pl] B[pl]"]),
        ("A[n] B[!n]", ["A[sg] B[pl]", "A[pl] B[sg]"]),
        ("A[ n , n2 ]", ["A[sg,sg]", "A[sg,pl]", "A[pl,sg]", "A[pl,pl]"]),
        ("A[sg] B[k]", ["A[sg] B[man]", "A[sg] B[dog]", "A[sg] B[cup]"]),
        ("A[k,!k]", ["A[man,dog]", "A[man,cup]", "A[dog,man]", "A[dog,cup]", "A[cup,man]",
                     "A[cup,dog]"]),
    ],
)  # fmt: skip
def test_the_symbols_of_a_pattern(text: str, expected: list[str]) -> None:
    assert _symbols(text) == expected


def test_the_weight_of_an_assignment_is_the_product_of_its_values() -> None:
    assignment = {"n": "sg", "k": "cup", "k2": "dog"}
    assert VARIABLES.weight(assignment, ["n", "k"], where="test") == 6
    assert VARIABLES.weight(assignment, ["k2"], where="test") == 1
