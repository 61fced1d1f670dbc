"""Short names by which several runs are told apart."""

from collections.abc import Mapping, Sequence
from typing import Any

NAMING = ("experiment_name", "output_dir")  # differ between all runs
ARCHITECTURE, DETAILS = "model.architecture", "model."
MOST_SHOWN = 4  # settings in a name


def names_of_runs(settings: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[str]:
    """Return a short name for each run: all settings in which they differ, else the paths.

    An architecture stands for the settings of its model. Some of the settings alone would hide what
    else may be the reason of a difference.

    Args:
        settings: by dotted name, for each run.
        paths: the directory of each run.
    """
    keys = dict.fromkeys(key for each in settings for key in each if key not in NAMING)
    values = {key: [each.get(key) for each in settings] for key in keys}
    shown = [key for key, found in values.items() if any(v != found[0] for v in found)]
    if ARCHITECTURE in shown:
        shown = [key for key in shown if key == ARCHITECTURE or not key.startswith(DETAILS)]
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
