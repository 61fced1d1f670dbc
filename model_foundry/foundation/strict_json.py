"""JSON according to RFC 8259, which has no NaN and no Infinity, unlike Python's."""

import json
import math
from collections.abc import Mapping
from typing import Any


def strict_json(
    values: Any, *, indent: int | None = None, ensure_ascii: bool = True, named: bool = False
) -> str:
    """Return plain data as JSON, without a line end.

    Args:
        named: write a non-finite number as a string ("nan", "inf") instead of null.
    """
    plain = _finite(values, named=named)
    return json.dumps(plain, indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def _finite(value: Any, *, named: bool) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value) if named else None
    if isinstance(value, Mapping):
        return {key: _finite(below, named=named) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(below, named=named) for below in value]
    return value
