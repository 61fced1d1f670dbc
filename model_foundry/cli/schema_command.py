"""The command `foundry schema`; `commands` registers it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli.shared_options import Debug, Plugins, path_argument


class Form(StrEnum):
    """A form of the description of all settings."""

    JSON = "json"
    MARKDOWN = "markdown"
    TEXT = "text"


def schema(
    form: Annotated[
        Form,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="json: a JSON schema for editors; markdown: a page; text: a line each.",
        ),
    ] = Form.JSON,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=path_argument,
            help="File to write; by default standard output.",
            show_default=False,
        ),
    ] = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Describe every setting, for editors and readers."""
    text = _described(form)
    if output is None:
        typer.echo(text, nl=False)
        return
    from model_foundry.foundation.atomic_files import write_text

    write_text(output, text)
    typer.echo(f"{output}: written")


def _described(form: Form) -> str:
    import json

    if form is Form.JSON:
        from model_foundry.config.json_schema import experiment_schema

        return json.dumps(experiment_schema(), indent=2, ensure_ascii=False) + "\n"
    from model_foundry.config import reference

    if form is Form.MARKDOWN:
        return reference.markdown()
    return "".join(f"{line}\n" for line in reference.setting_lines())
