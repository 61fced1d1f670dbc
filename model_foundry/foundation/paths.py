"""Paths as people write them: a `~` at the very beginning is the home directory, and no other."""

import os
from pathlib import Path


def written_path(text: str | Path) -> str:
    """Return a path that means the same wherever it is read again.

    `./~/a` and `~/a` are one once they are a `Path`; so the first comes back absolute.

    Raises:
        RuntimeError: it begins with the home of an unknown user.
    """
    given = os.fspath(text)
    path = os.path.expanduser(given)
    if not given.startswith("~"):
        return os.path.abspath(given) if str(Path(given)).startswith("~") else given
    if path == given:
        raise RuntimeError(f"{given.partition('/')[0]} is no home directory that is known")
    return path
