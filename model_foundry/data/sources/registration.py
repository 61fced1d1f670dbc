"""The decorator that registers a class as a kind of source."""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from model_foundry.config import SOURCES, SourceSpec
from model_foundry.data.sources.base import Hash, Source
from model_foundry.registry import register_in

TAKEN = ("mixture", "path", "paths", "plugin")  # other forms of `data.train`
PACKAGE = __name__.partition(".")[0]
C = TypeVar("C", bound=type[Source])


def register_source(name: str, *, schema: type[BaseModel] | None = None) -> Callable[[C], C]:
    """Return a class decorator that registers a source, named `{name: settings}` in `data.train`.

    The class is returned unchanged. It is called with its settings, an instance of `schema` or
    None, and a `Reading`. It has `batches`, `records` or both, and its `cache_key` must hold the
    content of what it reads.

    Raises:
        TypeError: the class is no `Source`, lacks a method, or is in no file; the name or the
            schema is not of the right kind.
        DuplicateNameError: the name is taken.
    """
    if name in TAKEN:
        raise TypeError(f"source {name!r}: the name has another meaning; choose another one")
    if schema is not None and not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise TypeError(f"source {name!r}: schema= is a pydantic class, got {schema!r}")
    add = register_in(SOURCES, SourceSpec, name, base=Source, schema=schema)

    def register(cls: C) -> C:
        if isinstance(cls, type) and issubclass(cls, Source):
            _code_of(cls)
            if cls.batches is Source.batches and cls.records is Source.records:
                law = "it lacks batches (of text) or records (rows with columns)"
                raise TypeError(f"{cls.__name__} cannot be source {name!r}: {law}")
        return add(cls)

    return register


@cache
def _code_of(cls: type[Source]) -> str | None:
    """Return the SHA-256 of the file of a class; None: it is part of this package."""
    if cls.__module__.partition(".")[0] == PACKAGE:
        return None
    try:
        return hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()
    except (OSError, TypeError) as error:
        raise TypeError(
            f"{cls.__name__} cannot be a source: it must be in a file, whose hash is part of the "
            "key of cached data; put it in a file and load that with --plugin"
        ) from error


def identity_of(source: Source, sha256: Hash) -> Any:
    """Return plain data that identifies what a source yields: its cache key, and a plugin's code.

    Raises:
        DataError: the source cannot be read.
    """
    code, key = _code_of(type(source)), source.cache_key(sha256)
    return key if code is None else [key, code]
