"""The line of an experiment file that tells an editor where the JSON schema is."""

import json
from pathlib import Path
from typing import Final

from model_foundry.config.json_schema import SCHEMA_TITLE
from model_foundry.config.shipped import shipped_configs
from model_foundry.config.shipped_experiments import MODELINE

SCHEMA_FILE: Final = "schema.json"
PLACES: Final = (SCHEMA_FILE, f"../{SCHEMA_FILE}", f"configs/{SCHEMA_FILE}")
"""Paths of the schema of a project, from the directory of an experiment file."""


def modeline(file: Path) -> str:
    """Return the line for an experiment file.

    A project that keeps a schema, with those of its plugins or for people without this package, is
    named by a relative path; else it is the schema beside the shipped experiments, which needs no
    network and is always that of the installed version.
    """
    own = (place for place in PLACES if _is_schema(file.parent / place))
    installed = (shipped_configs() / SCHEMA_FILE).resolve().as_uri()
    return f"{MODELINE}{next(own, installed)}"


def _is_schema(path: Path) -> bool:
    """Return True for a schema of experiments, of whatever version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("title") == SCHEMA_TITLE
