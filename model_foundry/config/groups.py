"""Groups: files that the command line chooses by name, such as `model=lstm_medium`.

A group that is named after a section replaces it; `experiment` and `debug` are laid over the whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from model_foundry.config.built_in import OBJECTIVES
from model_foundry.config.composition import compose_file, near
from model_foundry.config.fields import is_within
from model_foundry.config.layers import Layer
from model_foundry.config.other_tools import ABSENT
from model_foundry.config.overrides import Override
from model_foundry.config.shipped import shipped_configs
from model_foundry.config.training_task import TaskSettings
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import one_line, short_repr
from model_foundry.foundation.paths import written_path
from model_foundry.registry import nearest

SECTION_OF: Final = {
    "model": "model",
    "data": "data",
    "tokenizer": "tokenizer",
    "trainer": "training",
}
"""The section that a group replaces."""
LAID_OVER: Final = (
    "experiment",
    "debug",
)  # in this order: a preset for debugging has the last word
GROUPS: Final = (*SECTION_OF, *LAID_OVER)
SUFFIX = ".yaml"


def names_group(override: Override) -> bool:
    """Return True for an override that chooses a file of a group, such as `model=gpt2_small`."""
    return (
        override.action == "set"
        and override.name in GROUPS
        and isinstance(override.value, str)
        and override.value != ""
    )


def replace_sections(layer: Layer, choices: list[Override], config: Path) -> None:
    """Apply the files of the groups that replace a section; of several, the last one.

    Args:
        config: the experiment file, beside which groups are looked for first.

    Raises:
        ConfigError: a group has no such file, or the file does not hold what belongs there.
    """
    for group, section in SECTION_OF.items():
        chosen = [each for each in choices if each.name == group]
        if chosen:
            _replace(layer, section, _section(chosen[-1], section, config))


def lay_over_groups(layer: Layer, choices: list[Override], config: Path) -> None:
    """Apply the files of the groups that are laid over the whole: of several presets the last one.

    Args:
        config: as in `replace_sections`.

    Raises:
        ConfigError: a group has no such file, or it cannot be read.
    """
    for group in LAID_OVER:
        chosen = [each for each in choices if each.name == group]
        for override in chosen if group == "experiment" else chosen[-1:]:
            layer.lay_over(_file(override, config))


def _replace(layer: Layer, section: str, above: Layer) -> None:
    """Put a section in place of the one before; a trainer leaves what is learned as it is."""
    before, named = layer.data.pop(section, None), above.data.get(section, {})
    task = _task(before) if section == "training" and isinstance(before, dict) else {}
    kept = {key: value for key, value in task.items() if key not in named}
    origins = {
        name: origin
        for name, origin in layer.given.items()
        if any(is_within(name, f"{section}.{key}") for key in kept)
    }
    layer.forget(section)
    if kept:
        layer.lay_over(Layer({section: kept}, origins))
    layer.lay_over(above)


def _task(training: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `training` that say what is learned, not how."""
    return {
        key: value
        for key, value in training.items()
        if key in TaskSettings.model_fields or key in OBJECTIVES
    }


def _section(override: Override, section: str, config: Path) -> Layer:
    """Return what a group that replaces a section gives, which is that section alone."""
    layer = _file(override, config)
    for key, value in layer.data.items():
        if key == section and isinstance(value, dict):
            continue
        law = f"a file of the group {override.name!r} holds the section {section!r} alone"
        remedy = f"indent its settings below {section!r}"
        if key == section:
            law = f"must be a mapping, got {short_repr(value)}"
        elif key in ABSENT:
            remedy = ABSENT[key]
        raise ConfigError(one_line(f"{layer.given[key]}: {key}: {law}; {remedy}"))
    return layer


def _file(override: Override, config: Path) -> Layer:
    group, name = override.name, str(override.value).removesuffix(SUFFIX)
    places = list(dict.fromkeys(_directories(group, config)))
    known = names_in_group(group, config)
    if name not in known:
        raise override.fault(_unknown(group, name, known))
    path = next(file for place in places if (file := place / f"{name}{SUFFIX}").exists())
    return compose_file(near(path), group=f"{group}/{path.name}")


def names_in_group(group: str, config: Path) -> list[str]:
    """Return the names that can be chosen of a group, for an experiment file."""
    places = _directories(group, config)
    return sorted({path.stem for place in places for path in place.glob(f"*{SUFFIX}")})


def _directories(group: str, config: Path) -> Iterator[Path]:
    """Yield the directories in which the files of a group are looked for, by precedence."""
    beside = Path(written_path(config)).parent
    above = beside / ".." if beside.name in ("", "..") else beside.parent
    yield from (place / group for place in (beside, above, Path("configs"), shipped_configs()))


def _unknown(group: str, name: str, known: list[str]) -> str:
    if group == "data" and ("/" in name or "." in name):
        return f"no data/{name}{SUFFIX}; did you mean data.train={name}?"
    close = nearest(name, known)
    hint = f"did you mean {group}={close}? " if close else ""
    there = (
        f"there are {', '.join(known)}"
        if known
        else f"there are no files of this group, in a directory {group}/"
    )
    return f"the group has no {group}/{name}{SUFFIX}; {hint}{there}"
