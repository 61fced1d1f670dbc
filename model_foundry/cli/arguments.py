"""The arguments and options that several commands share, and the experiment that they name."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model_foundry.config import ExperimentConfig


@dataclass
class Options:
    """What holds for every command."""

    debug: bool = False
    """Show the traceback of an error."""


options = Options()


def _set_debug(value: bool) -> bool:
    options.debug = options.debug or value
    return value


def path_argument(text: str) -> Path:
    """Return a path of the command line; a shell leaves the `~` of `--option=~/a` as it is."""
    from model_foundry.foundation.paths import written_path

    if not text or "\0" in text:
        raise typer.BadParameter("must not be empty, or hold a zero byte")
    try:
        return Path(written_path(text))
    except RuntimeError as error:
        raise typer.BadParameter(str(error)) from error


def _load_plugins(files: list[Path] | None) -> list[Path]:
    if files:
        from model_foundry.foundation.plugins import load_plugin

        for file in files:
            load_plugin(file)
    return files or []


Config = Annotated[
    Path,
    typer.Argument(
        help="Experiment file.", parser=path_argument, metavar="CONFIG", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings to change, such as training.max_steps=100.", show_default=False),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        parser=path_argument,
        help="Python file that registers architectures or objectives.",
        callback=_load_plugins,
        show_default=False,
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=_set_debug,
        is_eager=True,  # before a plugin that may fail
    ),
]


def load(config: Path, overrides: list[str] | None) -> "ExperimentConfig":
    """Load an experiment with the settings of the command line."""
    from model_foundry.config import load_config

    return load_config(config, overrides=overrides or [])


def load_with_warnings(config: Path, overrides: list[str] | None) -> "ExperimentConfig":
    """Load an experiment and tell which of its settings do nothing; training tells it itself."""
    experiment = load(config, overrides)
    from model_foundry.config import settings_without_effect

    for line in settings_without_effect(experiment):
        typer.echo(f"warning: {line}", err=True)
    return experiment
