"""Types of settings that several steps share: regular expressions, and words from a list or file.

Files are read when the settings are parsed; the content of a file counts, not its path.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from model_foundry.foundation.messages import printable, short_repr
from model_foundry.foundation.paths import written_path

# a word with its inner apostrophes and hyphens, so that `well` is not found in `well-known`
WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")


def _fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{message}", {"message": message})


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise _fault(
            f"must be a regular expression ({error}), got {short_repr(pattern)}"
        ) from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles), Field(description="regular expression")]
"""A regular expression of Python's `re`."""


def compiled(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    """Compile an expression; `re` caches the last few hundred."""
    return re.compile(pattern, re.IGNORECASE if ignore_case else 0)


def _lines(path: str) -> list[str]:
    """Return the lines of a file that are not blank."""
    try:
        file = Path(written_path(path))
        is_file = file.is_file()  # reading a pipe would block
        text = file.read_text(encoding="utf-8-sig") if is_file else ""
    except UnicodeDecodeError as error:
        raise _fault(f"{printable(path)}: not UTF-8 text at byte {error.start}") from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # an OSError's text repeats the path
        raise _fault(f"{printable(path)}: cannot be read ({reason})") from error
    if not is_file:
        raise _fault(f"there is no file {path!r}; name one, or write the words here")
    return [line for line in text.splitlines() if line.strip()]


def _word_list(value: Any) -> Any:
    if isinstance(value, str):
        return [line.strip() for line in _lines(value)]
    if not isinstance(value, list):
        raise _fault(f"must be a list of words or a file, got {short_repr(value)}")
    return value


def _mapping(value: Any) -> Any:
    if isinstance(value, str):
        pairs = [line.split("\t") for line in _lines(value)]
        for pair in pairs:
            if len(pair) != 2:
                line = "\t".join(pair)
                raise _fault(f"{printable(value)}: a line is word, tab, replacement; got {line!r}")
        return {word.strip(): by for word, by in pairs}
    if not isinstance(value, dict):
        raise _fault(f"must be a mapping or a file, got {short_repr(value)}")
    return value


def _require_words(entries: frozenset[str] | dict[str, str]) -> Any:
    if not entries:
        raise _fault("must not be empty, got no words")
    other = sorted(entry for entry in entries if not WORD.fullmatch(entry))
    if other:
        raise _fault(f"must hold single words, but has {other[0]!r}; use a regular expression")
    return entries


Words = Annotated[
    frozenset[str],
    Field(strict=False),  # from a list; its entries are strict
    BeforeValidator(_word_list),
    AfterValidator(_require_words),
    Field(description="list of words, or file with one a line"),
]
Replacements = Annotated[
    dict[str, str],
    BeforeValidator(_mapping),
    AfterValidator(_require_words),
    Field(description="mapping, or file of lines word<TAB>replacement"),
]


def require_lower_case(field: str, entries: frozenset[str] | dict[str, str]) -> None:
    """Raise ValueError for an entry that `ignore_case` would never find."""
    other = sorted(entry for entry in entries if entry != entry.lower())
    if other:
        raise ValueError(f"{field}: must be in lower case under ignore_case, got {other[0]!r}")
