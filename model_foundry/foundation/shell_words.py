"""Words of a command line that a reader pastes into a shell."""

import shlex
from pathlib import Path


def pasted(path: Path) -> str:
    """Return a path quoted for a shell, and never mistaken for an option."""
    text = str(path)
    return quoted(f"./{text}" if text.startswith(("-", "~")) else text)


def quoted(text: str) -> str:
    """Quote for a shell, with as few escapes as possible."""
    plain = not any(mark in text for mark in '"$`\\!\n')
    return f'"{text}"' if plain and shlex.quote(text) != text else shlex.quote(text)
