"""JSON that every reader takes: RFC 8259 has no NaN and no Infinity, though Python writes them."""

import json
import math
from collections.abc import Mapping
from typing import Any


def strict_json(
    values: Any, *, indent: int | None = None, ensure_ascii: bool = True, named: bool = False
) -> str:
    """Return plain data as JSON, without a line end.

    Args:
        named: whether a number that is not finite becomes its name as a text ("nan", "inf");
            otherwise it becomes null.
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
