"""Steps on the words of a document."""

import random
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from model_foundry.interventions.registration import register_intervention
from model_foundry.interventions.sentence_splitter import CLOSING, MARKS, WIDE_MARKS, sentences
from model_foundry.interventions.settings import WORD, Replacements, Words, require_lower_case

_BLANKS = re.compile(r"(\s+)")


def _reorder(sentence: str, order: Callable[[list[str]], list[str]]) -> str:
    """Reorder the words of a sentence; white space and the final mark stay in place."""
    unquoted = sentence.rstrip().rstrip(CLOSING)
    unmarked = unquoted.rstrip(f"{MARKS}{WIDE_MARKS}")
    inner = (unmarked if unmarked != unquoted else sentence).strip()
    start = len(sentence) - len(sentence.lstrip())
    parts = _BLANKS.split(inner)  # words at even places
    parts[::2] = order(parts[::2])
    return sentence[:start] + "".join(parts) + sentence[start + len(inner) :]


def _check_window(settings: Any) -> None:
    if (settings.how == "window") is (settings.window is None):
        raise ValueError("window: is required under `how: window`, and only read there")


@register_intervention("shuffle_words", check=_check_window)
def shuffle_words(
    text: str,
    *,
    seed: int,
    index: int,
    how: Literal["full", "window", "reverse"] = "full",
    window: Annotated[int, Field(ge=2, lt=2**31)] | None = None,
) -> str:
    """Change the order of the words in each sentence: at random, within windows, or reversed.

    After the impossible languages of Kallini et al. (2024, arXiv:2401.06416). Theirs reorder the
    tokens of a subword tokenizer, including the final mark of a sentence; some use one permutation
    for all sentences of a length, and mark a reversal with a token. Here words between white space
    are moved, by a new permutation for each sentence (or each window of `window` words in it); the
    final mark of a sentence stays in place, and nothing is added.
    """
    rng = random.Random(f"{seed}-{index}")

    def order(words: list[str]) -> list[str]:
        if how == "reverse":
            return words[::-1]
        size = window or max(len(words), 1)
        windows = [words[start : start + size] for start in range(0, len(words), size)]
        for part in windows:
            rng.shuffle(part)
        return [word for part in windows for word in part]

    return "".join(_reorder(sentence, order) for sentence in sentences(text))


def _check_case(settings: Any) -> None:
    if settings.ignore_case:
        require_lower_case("words", settings.words)


def _blank(text: str, at: int) -> bool:
    return text[at : at + 1].isspace() and text[at] != "\n"


@register_intervention("delete_words", check=_check_case)
def delete_words(text: str, *, words: Words, ignore_case: bool = False) -> str:
    """Delete the words of a list, each with the blanks before it, or after it at a line's start.

    Only whole words are found: `well` is neither in `farewell` nor in `well-known`.
    """
    kept, last = [], 0
    for found in WORD.finditer(text):
        word = found[0].lower() if ignore_case else found[0]
        if word not in words:
            continue
        start, end = found.span()
        while start > last and _blank(text, start - 1):
            start -= 1
        if start == found.start():
            while _blank(text, end):
                end += 1
        kept.append(text[last:start])
        last = end
    return "".join(kept) + text[last:]


@register_intervention("replace_words", check=_check_case)
def replace_words(text: str, *, words: Replacements, ignore_case: bool = False) -> str:
    """Replace whole words by those of a mapping; replacements are not replaced again."""

    def by(found: re.Match[str]) -> str:
        word = found[0].lower() if ignore_case else found[0]
        return words.get(word, found[0])

    return WORD.sub(by, text)
