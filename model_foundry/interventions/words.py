"""Steps on the words of a document: their order, and the words of a list."""

import random
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from model_foundry.interventions.registration import register_intervention
from model_foundry.interventions.sentence_splitter import CLOSING, MARKS, WIDE_MARKS, sentences
from model_foundry.interventions.settings import WORD, Replacements, Words, require_lower_case

_BLANKS = re.compile(r"(\s+)")


def _reordered(sentence: str, order: Callable[[list[str]], list[str]]) -> str:
    """Put the words of a sentence in another order; white space and the last mark stay."""
    unquoted = sentence.rstrip().rstrip(CLOSING)
    unmarked = unquoted.rstrip(f"{MARKS}{WIDE_MARKS}")
    inner = (unmarked if unmarked != unquoted else sentence).strip()
    start = len(sentence) - len(sentence.lstrip())
    parts = _BLANKS.split(inner)  # words at even places
    parts[::2] = order(parts[::2])
    return sentence[:start] + "".join(parts) + sentence[start + len(inner) :]


def _shuffled(words: list[str], rng: random.Random, window: int) -> list[str]:
    shuffled = []
    for start in range(0, len(words), window):
        part = words[start : start + window]
        rng.shuffle(part)
        shuffled += part
    return shuffled


def _window_has_a_use(settings: Any) -> None:
    if (settings.how == "window") is (settings.window is None):
        raise ValueError("window: is required under `how: window`, and only read there")


@register_intervention("shuffle_words", check=_window_has_a_use)
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
    tokens of a subword tokenizer, the last mark of a sentence among them; some use one permutation
    for all sentences of a length, and a reversal is marked with a token. Here the words between
    white space are moved, by a new permutation for each sentence (or each window of `window` words,
    one after the other); the mark that closes a sentence stays there, and nothing is added.
    """
    rng = random.Random(f"{seed}-{index}")

    def order(words: list[str]) -> list[str]:
        if how == "reverse":
            return words[::-1]
        return _shuffled(words, rng, window or max(len(words), 1))

    return "".join(_reordered(sentence, order) for sentence in sentences(text))


def _words_can_be_found(settings: Any) -> None:
    if settings.ignore_case:
        require_lower_case("words", settings.words)


def _blank(text: str, at: int) -> bool:
    return text[at : at + 1].isspace() and text[at] != "\n"


@register_intervention("delete_words", check=_words_can_be_found)
def delete_words(text: str, *, words: Words, ignore_case: bool = False) -> str:
    """Delete the words of a list, each with the blanks before it; at the start of a line, behind.

    A word is found as a whole: `well` is neither in `farewell` nor in `well-known`.
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


@register_intervention("replace_words", check=_words_can_be_found)
def replace_words(text: str, *, words: Replacements, ignore_case: bool = False) -> str:
    """Replace whole words by what a mapping says; what it puts in is not looked at again."""

    def by(found: re.Match[str]) -> str:
        word = found[0].lower() if ignore_case else found[0]
        return words.get(word, found[0])

    return WORD.sub(by, text)
