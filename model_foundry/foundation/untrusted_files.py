"""Safe reading of files that others may have written.

The caller passes the exception class, since a bad model directory and a bad tokenizer directory
have different exit codes.
"""

import json
import os
from pathlib import Path
from typing import Any

from model_foundry.foundation.messages import reason_of

LARGEST_JSON = 2**26  # bytes; tokenizers of a quarter of a million entries take half of it


def require_regular_files(directory: Path, *names: str, error: type[ValueError]) -> None:
    """Refuse files of a directory that are links out of it, not regular, or too large to read.

    A pipe would block, a device may never end, and a link could include a file from elsewhere. A
    missing file is accepted.
    """
    root = Path(os.path.realpath(directory))
    for path in (directory / name for name in names):
        if not Path(os.path.realpath(path)).is_relative_to(root):
            raise error(f"{path}: is a link that leads out of the directory; put the file there.")
        if os.path.lexists(path) and not path.is_file():
            raise error(f"{path}: is not a regular file; put the file itself there.")
        if path.suffix == ".json" and path.exists() and path.stat().st_size > LARGEST_JSON:
            raise error(f"{path}: is larger than {LARGEST_JSON:,} bytes; save it again.")


def read_json(
    directory: Path, name: str, *, error: type[ValueError], remedy: str
) -> dict[str, Any]:
    """Read the JSON object in a file of a directory; `remedy` ends the message of an `error`."""
    require_regular_files(directory, name, error=error)
    path = directory / name
    try:
        content = json.loads(path.read_bytes().decode())
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror}); {remedy}.") from fault
    except RecursionError as fault:
        raise error(f"{path}: not valid JSON (nested too deeply); {remedy}.") from fault
    except ValueError as fault:
        raise error(f"{path}: not valid JSON ({reason_of(fault)}); {remedy}.") from fault
    if not isinstance(content, dict):
        raise error(f"{path}: must hold a JSON object; {remedy}.")
    return content
