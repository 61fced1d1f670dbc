"""Short names by which several runs are told apart."""

from collections.abc import Mapping, Sequence
from typing import Any

NAMING = ("experiment_name", "output_dir")  # differ between all runs
TELLING = ("model.architecture", "training.objective", "training.learning_rate")
MOST_SHOWN = 3  # settings in a name


def names_of_runs(settings: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[str]:
    """Return a short name for each run: the settings in which they differ, else their paths.

    Where they differ in many settings, those that tell most are tried alone.

    Args:
        settings: by dotted name, for each run.
        paths: the directory of each run.
    """
    keys = dict.fromkeys(key for each in settings for key in each if key not in NAMING)
    values = {key: [each.get(key) for each in settings] for key in keys}
    differing = [key for key, found in values.items() if any(v != found[0] for v in found)]
    for shown in (differing, [key for key in differing if key in TELLING]):
        texts = [[_setting(key, value) for value in values[key]] for key in shown]
        names = [", ".join(parts) for parts in zip(*texts, strict=True)]
        if 0 < len(shown) <= MOST_SHOWN and len(set(names)) == len(paths):
            return names
    return _last_parts(paths)


def _setting(key: str, value: Any) -> str:
    name = key.rpartition(".")[2]
    return str(value) if name == "architecture" else f"{name.replace('_', ' ')} {value}"


def _last_parts(paths: Sequence[str]) -> list[str]:
    """Return the fewest last parts of paths by which they are distinct."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for number in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-number:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)
