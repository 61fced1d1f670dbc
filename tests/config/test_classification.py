"""The sections of tasks of records: one line for each wrong class weight or column."""

from typing import Any

import pytest
from pydantic import ValidationError

from model_foundry.config.classification import (
    SequenceClassificationConfig,
    TokenClassificationConfig,
)
from model_foundry.config.error_messages import describe
from model_foundry.config.images import ImageClassificationConfig
from model_foundry.config.seq2seq import Seq2SeqConfig

LAW = "must be 'balanced' or a mapping of labels to numbers, got"
WRONG: list[tuple[Any, str, str]] = [
    ({"pos": -1}, ".pos", "must be > 0, got -1"),
    ({"pos": 1.0, "neg": "2"}, ".neg", "must be a number, got '2' (text); write it without quotes"),
    ({"pos": float("inf")}, ".pos", "must be finite, got inf"),
    ("balancd", "", f"{LAW} 'balancd'; did you mean 'balanced'?"),
    (3, "", f"{LAW} 3"),
    ([1.0, 2.0], "", f"{LAW} [1.0, 2.0]"),
]


@pytest.mark.parametrize("section", [SequenceClassificationConfig, TokenClassificationConfig])
@pytest.mark.parametrize(("value", "below", "message"), WRONG)
def test_a_wrong_weight_is_told_once(section: Any, value: Any, below: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        section(class_weights=value)
    assert describe(caught.value, section) == [(f"class_weights{below}", message)]


@pytest.mark.parametrize("value", ["balanced", {"pos": 2, "neg": 0.5}, None])
def test_right_weights_are_kept(value: Any) -> None:
    assert SequenceClassificationConfig(class_weights=value).class_weights == value


TWICE = "must be another column than that of"


@pytest.mark.parametrize(
    ("section", "given", "field", "first", "column"),
    [
        (Seq2SeqConfig, {"target": "source"}, "target", "source", "source"),
        (TokenClassificationConfig, {"words": "labels"}, "labels", "words", "labels"),
        (SequenceClassificationConfig, {"text_pair": "text"}, "text_pair", "text", "text"),
        (SequenceClassificationConfig, {"text_pair": "label"}, "label", "text_pair", "label"),
        (ImageClassificationConfig, {"image": "x", "label": "x"}, "label", "image", "x"),
    ],
)
def test_a_column_serves_one_field(
    section: Any, given: dict[str, str], field: str, first: str, column: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        section(**given)
    law = f"{TWICE} {first!r}, got {column!r} twice"
    assert describe(caught.value, section) == [(field, law)]
