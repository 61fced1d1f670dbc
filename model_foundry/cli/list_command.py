"""The command `foundry list`; `commands` registers it."""

from typing import Annotated

import typer

from model_foundry.cli.completion import complete_kind
from model_foundry.cli.shared_options import Debug, Plugins, argument


def list_names(
    what: Annotated[
        str | None,
        argument(
            "KIND",
            "What to list, such as architectures or metrics; by default all kinds.",
            complete=complete_kind,
        ),
    ] = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """List what an experiment file can name, with its settings."""
    from model_foundry.cli.listing import listing, overview

    for line in listing(what) if what else overview():
        typer.echo(line)
