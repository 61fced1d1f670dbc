"""Run directories by name, and all of them below a directory."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import printable
from model_foundry.registry import nearest
from model_foundry.run_reports.run_files import RunFiles

DEFAULT = Path("runs")


def require_run(path: Path) -> RunFiles:
    """Return the files of a run.

    Raises:
        ConfigError: there is no run in the directory; the message names the nearest one.
    """
    files = RunFiles(path)
    is_directory = os.path.isdir(files.path)  # unlike `Path.is_dir`, also of too long a name
    if is_directory and files.holds_a_run():
        return files
    reason = "no such directory"
    if os.path.isfile(files.path):
        reason = "is a file, not the directory of a run"
    elif is_directory:
        reason = "is not the directory of a run (it has no status.json)"
    raise ConfigError(f"{path}: {reason}{_hint(path)}")


def _hint(path: Path) -> str:
    """Return the runs that may be meant: those inside a directory, or with a similar name."""
    inside = [str(run.path) for run in runs_below([path])][:3] if os.path.isdir(path) else []
    if inside:
        return f"; runs below it: {printable(', '.join(inside))}"
    places = [place for place in (path.parent, DEFAULT) if os.path.isdir(place)]
    names = {run.path.name: run.path for run in runs_below(places)}
    close = nearest(path.stem, list(names))
    return f"; did you mean {printable(names[close])}?" if close else "; `foundry runs` lists them"


def runs_below(directories: Iterable[Path]) -> Iterator[RunFiles]:
    """Yield the runs in these directories and below them, by path; each once."""
    seen: set[Path] = set()
    for directory in directories:
        for place, below, names in os.walk(directory):
            below.sort()
            if {"status.json", "config.yaml"} & set(names):
                below.clear()
                files = RunFiles(place)
                if (real := files.path.resolve()) not in seen:
                    seen.add(real)
                    yield files


def require_directories(places: list[Path]) -> list[Path]:
    """Return the directories; a missing default one holds no runs.

    Raises:
        ConfigError: one does not exist.
    """
    for place in places:
        if not os.path.isdir(place) and place != DEFAULT:
            raise ConfigError(f"{place}: no such directory; name one that holds runs")
    return places
