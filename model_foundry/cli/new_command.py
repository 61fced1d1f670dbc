"""The command `foundry new`; `commands` registers it."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli.completion import complete_architecture, complete_shipped
from model_foundry.cli.output import mark_as_report
from model_foundry.cli.shared_options import Debug, Plugins, argument, path_argument
from model_foundry.errors import ConfigError

SUFFIXES = (".yaml", ".yml")


def new(
    file: Annotated[Path, argument("FILE.yaml", "Experiment file to write.", path_argument)],
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture",
            "-a",
            metavar="NAME",
            help="A registered architecture: `foundry list architectures`.",
            autocompletion=complete_architecture,
        ),
    ] = None,
    shipped: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME",
            help="A shipped experiment: `foundry list configs`.",
            autocompletion=complete_shipped,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Write an experiment file to begin with."""
    _check_place(file, force=force)
    from model_foundry.config.starter import make_starter
    from model_foundry.foundation.atomic_files import write_text

    starter = make_starter(file, architecture, shipped)
    write_text(file, starter.text)
    mark_as_report()
    begun = f", begun from {starter.origin}" if starter.origin else ""
    typer.echo(f"{file}: written{begun}")
    plugins = [f"--plugin {shlex.quote(str(each))}" for each in plugin or ()]
    to_give = [f"{name}=..." for name in starter.missing]
    typer.echo(" ".join(["next  foundry train", shlex.quote(str(file)), *to_give, *plugins]))


def _check_place(file: Path, *, force: bool) -> None:
    """Refuse a path that is no place for a new experiment file."""
    if file.suffix not in SUFFIXES:
        raise ConfigError(f"{file}: an experiment file ends in .yaml; name it {file.name}.yaml")
    if not file.parent.is_dir():
        raise ConfigError(f"{file}: there is no directory {file.parent}; make it, or name another")
    if file.is_dir():
        raise ConfigError(f"{file}: is a directory; name a file")
    if file.exists() and not force:
        raise ConfigError(f"{file}: exists; name another file, or replace it with --force")
