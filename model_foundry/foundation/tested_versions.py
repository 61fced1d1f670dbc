"""Versions of libraries that were tested, from `tested_versions.yaml`."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final, cast

import yaml
from packaging.version import Version

FILE: Final = Path(__file__).with_suffix(".yaml")
PINNED: Final = "pinned"
LIBRARIES: Final = ("torch", "transformers", "tokenizers", "accelerate", "datasets")
"""Libraries whose versions the doctor checks."""

Versions = Mapping[str, str]


@cache
def _file() -> dict[str, dict[str, dict[str, str]]]:
    # no resolver: a version such as 2.10 is text, not a number
    text = FILE.read_text(encoding="utf-8")
    return cast(dict[str, dict[str, dict[str, str]]], yaml.load(text, Loader=yaml.BaseLoader))


def run_with() -> dict[str, Versions]:
    """Return the sets of versions that the package was tested with, by name."""
    return {**_file()["runs"]}


def open_with() -> dict[str, Versions]:
    """Return the sets of versions that open saved models, by name, oldest first.

    They include those that the package runs with.
    """
    return {**_file()["opens"], **_file()["runs"]}


def version_range(library: str) -> tuple[str, str]:
    """Return the oldest and the newest tested version of a library."""
    versions = {each[library] for each in run_with().values() if library in each}
    return min(versions, key=Version), max(versions, key=Version)


def installed_versions() -> Versions:
    """Return the installed versions of the libraries that the doctor checks."""
    return {library: version(library) for library in LIBRARIES}


def newer_than_tested(installed: Versions) -> Iterator[str]:
    """Yield a sentence for each library that is newer than any tested version."""
    for library, found in installed.items():
        newest = version_range(library)[1]
        if _public(found) > Version(newest):
            yield f"{library} {found} is newer than any that was tested (up to {newest})"


def older_than_tested(installed: Versions) -> Iterator[str]:
    """Yield a sentence for each library that is older than any tested version."""
    for library, found in installed.items():
        oldest = version_range(library)[0]
        if _public(found) < Version(oldest):
            yield f"{library} {found} is older than any that was tested; install >= {oldest}"


def _public(found: str) -> Version:
    """Return a version without its local tag: 2.13.0+cpu is no newer than 2.13.0."""
    return Version(Version(found).public)
