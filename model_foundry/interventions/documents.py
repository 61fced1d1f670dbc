"""Steps that keep or drop whole documents."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from model_foundry.interventions.registration import register_intervention
from model_foundry.interventions.sentence_splitter import sentences
from model_foundry.interventions.settings import Pattern, compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Length = Annotated[int, Field(ge=0, lt=2**63)]


def _check_patterns(settings: Any) -> None:
    if settings.keep is None and settings.drop is None:
        raise ValueError("keep: or drop is required; give the pattern")


@register_intervention("filter_documents", check=_check_patterns)
def filter_documents(
    text: str,
    *,
    keep: Pattern | None = None,
    drop: Pattern | None = None,
    ignore_case: bool = False,
) -> str | None:
    """Keep the documents that match `keep` and do not match `drop`."""
    if keep is not None and not compiled(keep, ignore_case=ignore_case).search(text):
        return None
    if drop is not None and compiled(drop, ignore_case=ignore_case).search(text):
        return None
    return text


def _check_bounds(settings: Any) -> None:
    if settings.min is None and settings.max is None:
        raise ValueError("min: or max is required; give one")
    if settings.min is not None and settings.max is not None and settings.min > settings.max:
        raise ValueError(f"min: must be <= max (={settings.max}), got {settings.min}")


@register_intervention("filter_length", check=_check_bounds)
def filter_length(
    text: str,
    *,
    min: Length | None = None,
    max: Length | None = None,
    unit: Literal["characters", "words", "sentences"] = "words",
) -> str | None:
    """Keep the documents that have at least `min` and at most `max` units."""
    if unit == "characters":
        length = len(text)
    else:
        length = len(text.split() if unit == "words" else sentences(text))
    too_short = min is not None and length < min
    return None if too_short or (max is not None and length > max) else text


def _digest(text: str) -> tuple[int, ...]:
    # 128 bits: the probability of a collision among 10**12 documents is 1e-15
    hashed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    return struct.unpack("<qq", hashed.digest())


def _first_of_each(surveys: NDArray[np.int64]) -> NDArray[np.bool_]:
    import numpy as np  # imported here: experiment files are checked without it

    order = np.lexsort(
        (surveys[:, 1], surveys[:, 0])
    )  # stable: the first of equal documents comes first
    differs = np.any(surveys[order[1:]] != surveys[order[:-1]], axis=1)  # (N - 1,)
    first = np.ones(len(surveys), dtype=np.bool_)
    first[order[1:]] = differs
    return first


@register_intervention("drop_duplicates", survey=_digest, plan=_first_of_each)
def drop_duplicates(text: str, *, planned: bool) -> str | None:
    """Keep the first of identical documents within a split."""
    return text if planned else None
