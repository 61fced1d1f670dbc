"""Steps on the characters of a document."""

import re
import unicodedata
from typing import Any, Literal

from model_foundry.interventions.registration import register_intervention
from model_foundry.interventions.settings import Pattern, compiled


@register_intervention("lowercase")
def lowercase(text: str) -> str:
    """Convert the text to lower case."""
    return text.lower()


@register_intervention("normalize_unicode")
def normalize_unicode(text: str, *, form: Literal["NFC", "NFD", "NFKC", "NFKD"] = "NFC") -> str:
    """Apply a Unicode normalization form (annex 15)."""
    return unicodedata.normalize(form, text)


def _check_template(settings: Any) -> None:
    try:
        re.compile(settings.pattern).sub(settings.by, "")  # parses the template
    except (re.error, IndexError) as error:
        raise ValueError(f"by: does not fit the pattern ({error}), got {settings.by!r}") from error


@register_intervention("replace", check=_check_template)
def replace(text: str, *, pattern: Pattern, by: str = "", ignore_case: bool = False) -> str:
    r"""Replace the matches of a regular expression; `by` may refer to groups, as in `\1`."""
    return compiled(pattern, ignore_case=ignore_case).sub(by, text)
