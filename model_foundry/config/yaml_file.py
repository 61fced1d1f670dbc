"""Reading a file of settings: one mapping in UTF-8, of bounded size."""

import codecs
import stat
from pathlib import Path
from typing import Any

from model_foundry.config.yaml_reader import Places, parse_with_places
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import one_line, short_repr
from model_foundry.foundation.paths import written_path

LARGEST_FILE = 1_000_000  # bytes; a bigger file is no experiment


def read_yaml(path: str | Path) -> tuple[dict[str, Any], Places]:
    """Read an experiment file as plain data, with the places of its keys.

    Raises:
        ConfigError: the file is missing, too large, not UTF-8, not YAML, or no mapping.
    """
    raw, places = parse_with_places(_read_text(path), str(path))
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else "a list" if isinstance(raw, list) else short_repr(raw)
        raise ConfigError(one_line(f"{path}: must hold a mapping of sections, found {found}"))
    return raw, places


def _read_text(path: str | Path) -> str:
    cause: Exception | None = None
    try:
        place = Path(written_path(path))
        if not stat.S_ISREG(place.stat().st_mode):  # a pipe or a device could block or never end
            reason = "is not a file; name an experiment file"
        else:
            with place.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)  # the size in its metadata may be wrong
            if len(content) > LARGEST_FILE:
                reason = f"larger than {LARGEST_FILE:,} bytes, so no experiment file"
            elif _is_utf16(content):
                reason = "is UTF-16 or UTF-32 text; save it as UTF-8"
            else:
                return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        cause, reason = error, "no such file; check the path"
    except UnicodeDecodeError as error:
        cause, line = error, error.object.count(b"\n", 0, error.start) + 1
        reason = f"not UTF-8 text at byte {error.start}, in line {line}; save it as UTF-8"
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte in the path; unknown home
        cause, reason = error, f"cannot be read ({getattr(error, 'strerror', error)})"
    raise ConfigError(one_line(f"{path}: {reason}")) from cause


def _is_utf16(content: bytes) -> bool:
    """Return True for UTF-16 and UTF-32: a mark, or ASCII characters of more than one byte."""
    return content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in content[:4]
