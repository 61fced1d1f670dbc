"""The arguments and options that several commands share, and loading the experiment they name."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli import completion

if TYPE_CHECKING:
    from model_foundry.config import ExperimentConfig


@dataclass
class Options:
    """The options of every command."""

    debug: bool = False
    """Print the traceback of an error."""
    experiment: "ExperimentConfig | None" = None
    """The experiment that was loaded, whose file errors name; None: none was."""


options = Options()


def _set_debug(value: bool) -> bool:
    options.debug = options.debug or value
    return value


def path_argument(text: str) -> Path:
    """Return a path, with `~` expanded: a shell does not expand it in `--option=~/a`."""
    from model_foundry.foundation.paths import written_path

    if not text or "\0" in text:
        raise typer.BadParameter("must not be empty or contain a zero byte")
    try:
        return Path(written_path(text))
    except RuntimeError as error:
        raise typer.BadParameter(str(error)) from error


def _load_plugins(ctx: typer.Context, files: list[Path] | None) -> list[Path]:
    if files and not ctx.resilient_parsing:  # completion runs no code of others
        from model_foundry.foundation.plugins import load_plugin

        for file in files:
            load_plugin(file)
    return files or []


def argument(metavar: str, help: str, parser: Any = None, complete: Any = None) -> Any:
    """Return a positional argument that shows no default.

    Args:
        complete: what completes it in a shell; None: the shell itself, by paths.
    """
    return typer.Argument(
        metavar=metavar, help=help, parser=parser, autocompletion=complete, show_default=False
    )


Config = Annotated[
    Path, argument("CONFIG", "Experiment file.", path_argument, completion.complete_config)
]
Overrides = Annotated[
    list[str] | None,
    argument(
        "KEY=VALUE",
        "Settings to change, e.g. training.max_steps=100 or model=lstm_small.",
        complete=completion.complete_override,
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        parser=path_argument,
        help="Python file that registers architectures etc.",
        callback=_load_plugins,
        show_default=False,
    ),
]
Settings = Annotated[
    bool, typer.Option("--settings", help="Show each setting that is given, and its place.")
]
Resolved = Annotated[
    bool, typer.Option("--resolved", help="Print the final file, with the origin of each value.")
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Print the traceback of an error; debug=NAME is a preset.",
        callback=_set_debug,
        is_eager=True,  # before a plugin that may fail
    ),
]


def load(config: Path, overrides: list[str] | None) -> "ExperimentConfig":
    """Load an experiment with the overrides of the command line."""
    from model_foundry.config import load_config

    options.experiment = load_config(config, overrides=overrides or [])
    return options.experiment


def load_with_warnings(config: Path, overrides: list[str] | None) -> "ExperimentConfig":
    """Load an experiment and warn of settings without effect, as training does itself."""
    experiment = load(config, overrides)
    from model_foundry.config import settings_without_effect

    for line in settings_without_effect(experiment):
        typer.echo(f"warning: {line}", err=True)
    return experiment
