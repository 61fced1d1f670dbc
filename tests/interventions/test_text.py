"""Steps on characters."""

import pytest

from model_foundry.interventions.text import lowercase, normalize_unicode, replace


def test_lower_case() -> None:
    assert lowercase("The ÄPFEL of I.") == "the äpfel of i."


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("NFC", "\u00e9 \ufb01"),
        ("NFD", "e\u0301 \ufb01"),
        ("NFKC", "\u00e9 fi"),
        ("NFKD", "e\u0301 fi"),
    ],
)
def test_unicode_forms(form: str, expected: str) -> None:
    assert normalize_unicode("e\u0301 \ufb01", form=form) == expected  # type: ignore[arg-type]


def test_replacement_by_groups() -> None:
    assert replace("Ann saw Bob.", pattern=r"(\w+) saw (\w+)", by=r"\2 saw \1") == "Bob saw Ann."
    assert replace("a-A", pattern="a", by="x") == "x-A"
    assert replace("a-A", pattern="a", by="x", ignore_case=True) == "x-x"
    assert replace("[note] yes", pattern=r"\[\w+\] ") == "yes"
