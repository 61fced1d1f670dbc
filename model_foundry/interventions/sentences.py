"""Steps on the sentences of a document, as `sentence_splitter` finds them."""

import random
from typing import Any

from model_foundry.interventions.registration import register_intervention
from model_foundry.interventions.selection import Marked, Selection
from model_foundry.interventions.sentence_splitter import body, sentences
from model_foundry.interventions.settings import WORD, Pattern, Words, compiled, require_lower_case


@register_intervention("shuffle_sentences")
def shuffle_sentences(text: str, *, seed: int, index: int) -> str:
    """Shuffle the sentences of a document; the white space between them stays in place."""
    parts = [body(sentence) for sentence in sentences(text)]
    order = [inner for _, inner, _ in parts]
    random.Random(f"{seed}-{index}").shuffle(order)
    return "".join(
        f"{before}{inner}{behind}" for (before, _, behind), inner in zip(parts, order, strict=True)
    )


def _check_matching(settings: Any) -> None:
    if (settings.pattern is None) is (settings.words is None):
        raise ValueError("pattern: must be given without words, or words without it")
    if settings.words is not None and settings.ignore_case:
        require_lower_case("words", settings.words)


def _marked(
    text: str, *, pattern: str | None, words: frozenset[str] | None, ignore_case: bool
) -> Marked:
    split = sentences(text)
    if pattern is not None:
        found = compiled(pattern, ignore_case=ignore_case).search
        return split, [found(sentence.strip()) is not None for sentence in split]
    cased = (sentence.lower() if ignore_case else sentence for sentence in split)
    return split, [not (words or set()).isdisjoint(WORD.findall(sentence)) for sentence in cased]


_DROP, _KEEP = Selection(marked=_marked, keep=False), Selection(marked=_marked, keep=True)


@register_intervention(
    "drop_sentences",
    check=_check_matching,
    **_DROP.functions(),
)
def drop_sentences(
    text: str,
    *,
    seed: int,
    index: int,
    planned: int | None = None,
    pattern: Pattern | None = None,
    words: Words | None = None,
    ignore_case: bool = False,
    control: bool = False,
) -> str | None:
    """Drop the sentences with `pattern` or one of `words`, or, as `control`, as many others.

    The control drops sentences of the corpus at random, none of which matches. A document without a
    remaining sentence is dropped. The white space around a sentence is not searched.
    """
    settings = {"pattern": pattern, "words": words, "ignore_case": ignore_case}
    return _DROP.remaining(text, planned=planned, seed=seed, index=index, **settings)


@register_intervention(
    "keep_sentences",
    check=_check_matching,
    **_KEEP.functions(),
)
def keep_sentences(
    text: str,
    *,
    seed: int,
    index: int,
    planned: int | None = None,
    pattern: Pattern | None = None,
    words: Words | None = None,
    ignore_case: bool = False,
    control: bool = False,
) -> str | None:
    """Keep the sentences with `pattern` or one of `words`, or, as `control`, as many others.

    The control keeps sentences of the corpus at random, matching or not. A document without a
    remaining sentence is dropped.
    """
    settings = {"pattern": pattern, "words": words, "ignore_case": ignore_case}
    return _KEEP.remaining(text, planned=planned, seed=seed, index=index, **settings)
