"""Experiment files that extend others: `extends: base.yaml`, or a list of files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_foundry.config.layers import Layer
from model_foundry.config.origins import Origin, origins_of_file
from model_foundry.config.shipped import shipped_configs
from model_foundry.config.yaml_file import read_yaml
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import one_line, short_repr
from model_foundry.foundation.paths import written_path
from model_foundry.registry import nearest

EXTENDS = "extends"
MOST_FILES = 100  # read for one experiment; a file that extends another twice doubles them


def compose_file(path: str | Path, *, group: str | None = None) -> Layer:
    """Return what a file gives, laid over the files that it extends.

    Args:
        group: group and file name, for the origins of its values; None: it is no file of a group.

    Raises:
        ConfigError: one of the files cannot be read, or extends itself.
    """
    return _Composition().read(str(path), group=group)


class _Composition:
    """The reading of one file and of all that it extends."""

    def __init__(self) -> None:
        self.num_files = 0

    def read(
        self, path: str, *, group: str | None = None, chain: tuple[tuple[Path, str], ...] = ()
    ) -> Layer:
        """Read a file.

        Args:
            chain: the files that lead here, each with its path in messages.
        """
        data, places = read_yaml(path)
        own = Layer(data, dict(origins_of_file(places, path, group=group).given))
        below, chain = Layer(), (*chain, (Path(written_path(path)).resolve(), path))
        for name, origin in _extended(own):
            base = _find(name, origin)
            self._check(base, origin, name, chain)
            below.lay_over(self.read(str(base), chain=chain))
        below.lay_over(own)
        return below

    def _check(
        self, base: Path, origin: Origin, name: str, chain: tuple[tuple[Path, str], ...]
    ) -> None:
        """Refuse a circle, and more files than anyone writes."""
        self.num_files += 1
        if self.num_files > MOST_FILES:
            raise _fault(origin, f"leads to more than {MOST_FILES} files")
        before = [place for place, _ in chain]
        if base.resolve() in before:
            circle = [shown for _, shown in chain[before.index(base.resolve()) :]]
            way = " -> ".join([*circle, circle[0]])
            raise _fault(origin, f"{short_repr(name)} leads back to itself ({way}); drop one")


def _extended(layer: Layer) -> Iterator[tuple[str, Origin]]:
    """Take `extends` out of what a file gives; yield its files with their places."""
    if EXTENDS not in layer.data:
        return
    value, place = layer.data.pop(EXTENDS), layer.given[EXTENDS]
    names = value if isinstance(value, list) else [value]
    places = [layer.given.get(f"{EXTENDS}.{number}", place) for number in range(len(names))]
    layer.forget(EXTENDS)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise _fault(place, f"must be the path of a file or a list of paths, got {_kind(value)}")
    yield from zip(names, places, strict=True)


def _kind(value: Any) -> str:
    return "a mapping" if isinstance(value, dict) else short_repr(value)


def _fault(origin: Origin, message: str) -> ConfigError:
    return ConfigError(one_line(f"{origin}: {EXTENDS}: {message}"))


def _find(name: str, origin: Origin) -> Path:
    """Return a file beside the one that names it, else a shipped one."""
    try:
        beside = Path(written_path(str(origin.file))).parent / written_path(name)
        shipped = shipped_configs() / name
        places = [beside] if Path(name).is_absolute() or name[0] in "~." else [beside, shipped]
        found = next((near(place) for place in places if place.exists()), None)
    except (OSError, ValueError, RuntimeError) as error:  # too long; a zero byte; unknown home
        reason = getattr(error, "strerror", None) or error
        raise _fault(origin, f"{short_repr(name)} cannot be read ({reason})") from error
    if found is not None:
        return found
    known = [each for place in places for each in _files_beside(place, name)]
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else _known(known)
    law = f"there is no file {short_repr(str(beside))}, nor a shipped one of this name"
    raise _fault(origin, f"{law}; {hint}")


def _known(names: list[str]) -> str:
    return f"there are {', '.join(sorted(set(names)))}" if names else "check the path"


def _files_beside(place: Path, name: str) -> Iterator[str]:
    """Yield the files in the directory of a missing one, as `name` would name them."""
    for path in sorted(place.parent.glob("*.yaml")):
        yield str(Path(name).with_name(path.name))


def near(path: Path) -> Path:
    """Return a path as it is seen from the current directory, if it lies within."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path
