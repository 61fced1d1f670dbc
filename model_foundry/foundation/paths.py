"""Paths as users write them: only a `~` at the very beginning is the home directory."""

import os
from pathlib import Path


def written_path(text: str | Path) -> str:
    """Return a path with `~` expanded, so that expanding it again changes nothing.

    `Path` turns `./~/a` into `~/a`; so the former is returned as an absolute path.

    Raises:
        RuntimeError: it begins with the home of an unknown user.
    """
    given = os.fspath(text)
    path = os.path.expanduser(given)
    if not given.startswith("~"):
        return os.path.abspath(given) if str(Path(given)).startswith("~") else given
    if path == given:
        raise RuntimeError(f"{given.partition('/')[0]} is no known home directory")
    return path
