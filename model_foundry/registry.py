"""A registry of named specs, independent of what they describe.

A spec is cheap to create and to read: it names its implementation (`target`, a `module:attribute`
string) without importing it.
"""

import difflib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module, metadata
from typing import Any, ClassVar, Protocol, TypeVar

from model_foundry.errors import ConfigError


class Spec(Protocol):
    """The attributes that a registry requires of its entries."""

    @property
    def name(self) -> str:
        """The name under which the entry is registered."""

    @property
    def target(self) -> str:
        """The implementation, as `module:attribute`."""


S = TypeVar("S", bound=Spec)
T = TypeVar("T")
PLUGIN_MODULE = "foundry_plugin_"  # begins the names of the modules of plugins
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class UnknownNameError(ConfigError, KeyError):
    """The name is not registered. Also a `KeyError`, since a registry is a mapping."""

    __str__ = Exception.__str__  # KeyError's own would quote the message


class DuplicateNameError(ConfigError):
    """The name is already taken."""


def nearest(name: str, known: Iterator[str] | list[str]) -> str | None:
    """Return the known name closest to `name`; None if none is similar."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def load_target(target: str) -> Any:
    """Import the object that a `module:attribute` string names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


class Registry(Mapping[str, S]):
    """Specs of one kind by name, completed on demand from an entry-point group.

    Args:
        kind: the kind of entry in the singular, for messages ("architecture").
        specs: the built-in entries.
        entry_points: entry-point group in which other packages announce their entries. Each entry
            point names a module that registers something on import; it is loaded only when its
            name is requested and not registered yet.
    """

    num_added: ClassVar[int] = 0
    """Entries added to all registries so far, to detect a plugin file that adds none."""

    def __init__(self, kind: str, specs: tuple[S, ...] = (), *, entry_points: str) -> None:
        self.kind = kind
        self.entry_points = entry_points
        self._specs: dict[str, S] = {}
        self._implementations: dict[str, Any] = {}
        self._points: dict[str, metadata.EntryPoint] | None = None
        self._guards: list[Callable[[S], None]] = []
        for spec in specs:
            self.add(spec)

    def add(self, spec: S, implementation: Any = None) -> None:
        """Add an entry.

        Args:
            implementation: the object that `spec.target` names; None: imported on demand.

        Raises:
            DuplicateNameError: the name is taken. An equal spec may be added again, so that a
                module can be reloaded.
        """
        present = self._specs.get(spec.name)
        if present is not None and present != spec:
            raise DuplicateNameError(
                f"{self.kind.capitalize()} {spec.name!r} is already registered, for "
                f"{place_of(present.target)}; {place_of(spec.target)} needs another name."
            )
        for guard in self._guards:
            guard(spec)
        self._specs[spec.name] = spec
        Registry.num_added += 1
        if implementation is not None:
            self._implementations[spec.name] = implementation

    def guard(self, check: Callable[[S], None]) -> None:
        """Have `check` refuse, by an exception, specs that are added from now on."""
        self._guards.append(check)

    def known(self) -> list[S]:
        """Return the specs by name, without those that other packages only announce."""
        return [self._specs[name] for name in sorted(self._specs)]

    def load(self, name: str) -> Any:
        """Return the implementation of an entry, importing it on first use."""
        spec = self[name]
        if name not in self._implementations:
            self._implementations[name] = load_target(spec.target)
        return self._implementations[name]

    def remove(self, name: str) -> None:
        """Remove an entry."""
        del self._specs[self[name].name]
        self._implementations.pop(name, None)

    def __getitem__(self, name: str) -> S:
        if name not in self._specs:
            self._load_entry_point(name)
        if name not in self._specs:
            raise UnknownNameError(self._unknown(name))
        return self._specs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._specs or name in self._announced()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._specs, *self._announced()}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _announced(self) -> dict[str, metadata.EntryPoint]:
        """Return the entry points of the group; finding them reads every installed package."""
        if self._points is None:
            found = metadata.entry_points(group=self.entry_points)
            self._points = {point.name: point for point in found}
        return self._points

    def _load_entry_point(self, name: str) -> None:
        point = self._announced().get(name)
        if point is None:
            return
        try:
            point.load()
        except Exception as error:  # code of another package
            raise ConfigError(
                f"{self.kind} {name!r} of {point.value} cannot be imported: "
                f"{type(error).__name__}: {error}; fix or remove that package."
            ) from error

    def _unknown(self, name: str) -> str:
        close = nearest(name, list(self)) or nearest(name.lower(), list(self))
        hint = f"; did you mean {close!r}?" if close else "."
        # the second half is documented for architectures, of names that are near no other
        is_new = self.kind == "architecture" and not close
        again = f" Architecture {name!r} not registered." if is_new else ""
        return (
            f"Unknown {self.kind}: {name!r}{hint}{again} Available: {', '.join(self)}; others come "
            "with --plugin FILE.py, in Python with load_plugin('FILE.py')."
        )


def place_of(target: str) -> str:
    """Return where a target is: a plugin's file and the name in it, else the target."""
    module, _, name = target.partition(":")
    file = getattr(sys.modules.get(module), "__file__", None)
    return f"{name} in {file}" if file and module.startswith(PLUGIN_MODULE) else target


def register_in(
    registry: Registry[S],
    spec: Callable[..., S],
    name: str,
    *,
    base: type | None = None,
    **facts: Any,
) -> Callable[[T], T]:
    """Return a decorator that adds a class or function to a registry and returns it unchanged.

    Args:
        spec: the class of the registry's specs, which gets name, target and `facts`.
        base: the class that it must derive from, without abstract methods left; None: it is a
            function.

    Raises:
        TypeError: the name or the decorated object is not of the right kind.
        DuplicateNameError: the name is taken.
    """
    kind = registry.kind
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        law = "consists of letters, digits, '.', '_' and '-'"
        raise TypeError(f"the name of a registered {kind} {law}, got {name!r}")

    def register(thing: T) -> T:
        _require_kind(thing, kind, name, base)
        target = f"{thing.__module__}:{thing.__qualname__}"  # type: ignore[attr-defined]
        registry.add(spec(name=name, target=target, **facts), thing)
        return thing

    return register


def _require_kind(thing: Any, kind: str, name: str, base: type | None) -> None:
    shown = getattr(thing, "__name__", repr(thing))
    if base is None:
        if not callable(thing) or isinstance(thing, type):
            raise TypeError(f"{shown} cannot be {kind} {name!r}: it must be a function")
        return
    if not (isinstance(thing, type) and issubclass(thing, base)):
        raise TypeError(
            f"{shown} cannot be {kind} {name!r}: it must be a subclass of {base.__name__}"
        )
    if missing := sorted(getattr(thing, "__abstractmethods__", ())):
        raise TypeError(f"{shown} cannot be {kind} {name!r}: it lacks {', '.join(missing)}")
