"""Settings of the built-in steps: files of words, and faults."""

from pathlib import Path
from typing import Any

import pytest

from model_foundry.errors import ConfigError
from tests.interventions.passes import chain_of, texts_after


def test_lists_and_mappings_from_files(tmp_path: Path) -> None:
    words, mapping = tmp_path / "words.txt", tmp_path / "mapping.tsv"
    words.write_text("\ufeffbig\n\n small \n", encoding="utf-8")
    mapping.write_text("dog\tgrand cat\nmouse\t\n", encoding="utf-8")
    steps = (
        {"step": "delete_words", "words": str(words)},
        {"step": "replace_words", "words": str(mapping)},
    )
    assert texts_after(*steps, texts=["a big dog and small mouse!"]) == ["a grand cat and !"]


def test_the_content_of_a_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    from_file = chain_of({"step": "delete_words", "words": str(path)}).cache_key()
    assert chain_of({"step": "delete_words", "words": ["two", "one"]}).cache_key() == from_file
    path.write_text("one\n", encoding="utf-8")
    assert chain_of({"step": "delete_words", "words": str(path)}).cache_key() != from_file


@pytest.mark.parametrize(
    ("step", "settings", "message"),
    [
        ("filter_documents", {}, "keep: or drop is required"),
        ("filter_documents", {"keep": "("}, "keep: must be a regular expression"),
        ("filter_length", {}, "min: or max is required"),
        ("filter_length", {"min": 3, "max": 2}, "min: must be <= max (=2), got 3"),
        ("filter_length", {"min": -1}, "min: must be >= 0, got -1"),
        ("filter_length", {"min": "3"}, "min: must be an integer, got '3'"),
        ("drop_duplicates", {"split": ["train"]}, "split: unknown key; did you mean 'splits'"),
        ("replace", {"pattern": "(a)", "by": r"\2"}, "by: does not fit the pattern"),
        ("replace", {"pattern": "a", "by": 3}, "by: must be text, got 3; put it in quotes"),
        ("replace", {}, "pattern: is required"),
        ("keep_sentences", {}, "pattern: must be given without words, or words without"),
        ("keep_sentences", {"pattern": "a", "words": ["a"]}, "pattern: must be given without"),
        ("keep_sentences", {"words": ["A"], "ignore_case": True}, "words: must be in lower case"),
        ("delete_words", {"words": []}, "words: must not be empty"),
        ("delete_words", {"words": ["of course"]}, "single words, but has 'of course'"),
        ("delete_words", {"words": "no/such.txt"}, "there is no file 'no/such.txt'"),
        ("delete_words", {"words": ["Big"], "ignore_case": True}, "lower case under ignore_case"),
        ("delete_words", {"words": 5}, "words: must be a list of words or a file, got 5"),
        ("delete_words", {"words": ["a", 1]}, "words.1: must be text, got 1"),
        ("replace_words", {"words": ["a"]}, "words: must be a mapping or a file, got ['a']"),
        ("replace_words", {"words": {"a": 1}}, "words.a: must be text, got 1"),
        (
            "replace_words",
            {"words": b"a\tb\nword\n"},
            "a line is word, tab, replacement; got 'word'",
        ),
        ("replace_words", {"words": b"a\xff"}, "not UTF-8 text at byte 1"),
        ("shuffle_words", {"how": "window"}, "window: is required"),
        ("shuffle_words", {"window": 3}, "only read there"),
        ("shuffle_words", {"how": "window", "window": 1}, "window: must be >= 2, got 1"),
        ("shuffle_words", {"how": "ful"}, "did you mean 'full'?"),
    ],
)
def test_wrong_settings_are_refused(
    step: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    words = settings.get("words")
    if isinstance(words, bytes):  # the content of a file
        (tmp_path / "words").write_bytes(words)
        settings = {"words": str(tmp_path / "words")}
    with pytest.raises(ConfigError) as error:
        chain_of({"step": step, **settings})
    (line,) = str(error.value).splitlines()
    assert line.startswith("data.interventions.0.")
    assert message in line
