"""Completion of arguments in a shell, which asks on each TAB: nothing here may import torch.

bash takes `=` for the end of a word, so that `training.optimizer=ad` arrives as three; other shells
pass it as one. A word that is the only choice gets a space behind it, which must not come after a
`=` or `/`. Hence a key is offered together with its values, and a directory by what is in it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import shorten

import typer

from model_foundry.foundation.paths import written_path

Suggestions = list[str] | list[tuple[str, str]]
WIDEST = 60  # columns of a meaning; typer wraps a longer one, and fish takes each line for a word
EXPERIMENTS = (".yaml", ".yml")
OF_A_RUN, OF_A_MODEL = "config.yaml", "config.json"


def complete_config(incomplete: str) -> list[str]:
    """Return the experiment files that a path can become, and the directories on the way."""
    return _paths(incomplete, lambda path: path.suffix in EXPERIMENTS and path.is_file())


def complete_run(incomplete: str) -> list[str]:
    """Return the runs, checkpoints and models that a path can become, with what is around them."""
    return _paths(incomplete, _is_run)


def complete_override(ctx: typer.Context, incomplete: str) -> Suggestions:
    """Return settings that `key=value` can begin with, or the values of one of them."""
    before = [str(word) for word in ctx.params.get("overrides") or ()]
    if before and before[-1] == "=" and len(before) > 1:
        return _values(before[-2], incomplete, ctx)
    if before and "=" not in before[-1]:  # the `=` itself is not passed
        return _values(before[-1], incomplete, ctx)
    key, equals, value = incomplete.partition("=")
    if equals:
        found = _values(key, value, ctx) or _paths_of(key, value)
        return [f"{key}={each}" for each in found]
    return _keys(incomplete, ctx)


def complete_kind() -> list[str]:
    """Return what `foundry list` lists."""
    from model_foundry.cli.listing import LISTS

    return list(LISTS)


def complete_architecture() -> list[str]:
    """Return the registered architectures."""
    from model_foundry.config.built_in import ARCHITECTURES

    return [spec.name for spec in ARCHITECTURES.known()]


def complete_shipped() -> list[str]:
    """Return the experiments that come with the package."""
    from model_foundry.config.shipped import shipped_configs

    return sorted(path.stem for path in shipped_configs().glob("*.yaml"))


def _keys(incomplete: str, ctx: typer.Context) -> list[tuple[str, str]]:
    from model_foundry.config.groups import GROUPS
    from model_foundry.config.suggestions import kind_of_setting, suggested_names

    found = suggested_names(incomplete)
    groups = [group for group in GROUPS if group.startswith(incomplete) and _values(group, "", ctx)]
    found += [(f"{group}=", "A file of this group.") for group in groups]
    found = [
        (key, shorten(meaning, WIDEST, placeholder=" ...", break_on_hyphens=False))
        for key, meaning in found
    ]
    if len(found) != 1:
        return found
    key, meaning = found[0]
    name = key.removesuffix("=")
    values = _values(name, "", ctx) or ["", kind_of_setting(name).upper()]
    return [(f"{key}{value}", meaning) for value in (values if len(values) > 1 else ["", *values])]


def _values(key: str, incomplete: str, ctx: typer.Context) -> list[str]:
    """Return the values of a setting, or the names of a group, that complete what was typed."""
    from model_foundry.config.groups import GROUPS, names_in_group
    from model_foundry.config.suggestions import suggested_values

    config = ctx.params.get("config") or Path("experiment.yaml")
    found = names_in_group(key, config) if key in GROUPS else suggested_values(key)
    return [value for value in found if value.startswith(incomplete)]


def _paths_of(key: str, incomplete: str) -> list[str]:
    from model_foundry.config.suggestions import takes_a_path

    return _paths(incomplete, Path.is_file) if takes_a_path(key) else []


def _paths(incomplete: str, wanted: Callable[[Path], bool]) -> list[str]:
    """Return the paths that complete what was typed: those wanted, and directories."""
    found = sorted(_entries(incomplete, wanted))
    while len(found) == 1 and found[0].endswith("/"):
        below = sorted(_entries(found[0], wanted))
        if not below:  # the shell's own completion may find more
            return []
        found = below
    return found


def _entries(incomplete: str, wanted: Callable[[Path], bool]) -> Iterator[str]:
    typed, _, begin = incomplete.rpartition("/")
    above = f"{typed}/" if "/" in incomplete else ""
    try:
        entries = list(Path(written_path(above or ".")).iterdir())
    except (OSError, ValueError, RuntimeError):  # not there, not permitted, an unknown home
        return
    for path in entries:
        hidden = path.name.startswith(".") and not begin.startswith(".")
        if hidden or not path.name.startswith(begin):
            continue
        if wanted(path):
            yield f"{above}{path.name}"
        elif path.is_dir():
            yield f"{above}{path.name}/"


def _is_run(path: Path) -> bool:
    return (path / OF_A_RUN).is_file() or (path / OF_A_MODEL).is_file()
