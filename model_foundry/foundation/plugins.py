"""Plugins: user files that register architectures, objectives or interventions.

An exception that passes through a plugin is reported with the plugin's file and line, unless it is
a FoundryError or memory ran out.
"""

import hashlib
import importlib.util
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from model_foundry.errors import ConfigError, DataError, FoundryError, is_out_of_memory
from model_foundry.foundation.messages import reason_of
from model_foundry.foundation.paths import written_path
from model_foundry.registry import PLUGIN_MODULE, Registry

logger = logging.getLogger(__name__)

LOADED_PLUGINS: dict[str, str] = {}  # path -> SHA-256, in the order of loading


def load_plugin(path: str | Path) -> str:
    """Run a plugin file, once per process; return its SHA-256.

    Raises:
        ConfigError: the file is missing, or raises an exception.
    """
    try:
        path = Path(written_path(path))
        is_file = path.is_file()
    except (RuntimeError, ValueError, OSError) as error:  # unknown home; invalid file name
        raise ConfigError(f"plugin {reason_of(path)}: {describe_error(error)}.") from error
    if not is_file:
        raise ConfigError(f"plugin {path}: no such file.")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"plugin {path}: cannot be read ({error.strerror}).") from error
    LOADED_PLUGINS[str(path)] = digest
    module_name = _module_name(path, digest)
    if module_name not in sys.modules:
        before = Registry.num_added
        _import_file(path, module_name)
        if Registry.num_added == before:
            logger.warning("plugin %s: registers nothing; a decorator may be missing", path)
    return digest


def _import_file(path: Path, module_name: str) -> None:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin {path}: not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        del LOADED_PLUGINS[str(path)]
        place = locate_in_files(error, str(path)) or path
        raise ConfigError(f"plugin {place}: {describe_error(error)}") from error


def _module_name(path: Path, digest: str) -> str:
    return f"{PLUGIN_MODULE}{path.stem}_{digest[:16]}"  # two files may have one name


def plugin_modules() -> dict[str, ModuleType]:
    """Return the module of each loaded plugin, by the name of its file without `.py`."""
    files = {Path(path): digest for path, digest in LOADED_PLUGINS.items()}
    return {path.stem: sys.modules[_module_name(path, digest)] for path, digest in files.items()}


def plugin_of(cls: type) -> tuple[str, str] | None:
    """Return name and SHA-256 of the plugin file that defines a class; None: not in a plugin."""
    for path, digest in LOADED_PLUGINS.items():
        if cls.__module__ == _module_name(Path(path), digest):
            return Path(path).name, digest
    return None


def describe_error(error: BaseException) -> str:
    """Return the class of an exception and its message, on one line; only the message of ours."""
    if isinstance(error, FoundryError):
        return reason_of(error)
    reason = error.msg if isinstance(error, SyntaxError) else error  # its text repeats the place
    return f"{type(error).__name__}: {reason_of(reason)}"


def locate_in_files(error: BaseException, *files: str) -> str | None:
    """Return `file:line` of the innermost frame of an exception in these files."""
    # tracebacks have absolute paths; a file that is given twice is named as the first time
    named = {os.path.abspath(file): file for file in reversed(files)}
    if isinstance(error, SyntaxError) and error.filename in named:
        return f"{named[error.filename]}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in named]
    return f"{named[frames[-1].filename]}:{frames[-1].lineno}" if frames else None


def locate_class(cls: type | Callable[..., Any], method: str | None = None) -> str:
    """Return `file:line` of a class or function, or of a method that a class defines."""
    try:
        found = getattr(cls, method, None) if method else None
        source = found if inspect.isroutine(found) else cls
        file = inspect.getfile(source)  # `type(...)` makes classes of the module `abc`
        known = {os.path.abspath(path): path for path in LOADED_PLUGINS}
        line = inspect.getsourcelines(source)[1]
        return f"{known.get(file, file)}:{line}"
    except (OSError, TypeError):
        return cls.__module__


@contextmanager
def plugin_errors() -> Iterator[None]:
    """Convert an exception of a plugin into a ConfigError with the file and line; into a DataError
    if a file is missing."""
    try:
        yield
    except FoundryError:
        raise
    except (Exception, SystemExit) as error:
        place = locate_in_files(error, *LOADED_PLUGINS)
        if place is None or is_out_of_memory(error):
            raise
        if isinstance(error, FileNotFoundError) and error.filename:
            raise DataError(f"{error.filename}: no such file (read at {place})") from error
        raise ConfigError(f"plugin {place}: {describe_error(error)}") from error
