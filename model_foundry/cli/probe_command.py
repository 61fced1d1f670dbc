"""The command `foundry probe`; `commands` registers it."""

from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli.completion import complete_run
from model_foundry.cli.output import mark_as_report
from model_foundry.cli.shared_options import (
    Config,
    Debug,
    Overrides,
    Plugins,
    argument,
    load,
    path_argument,
)
from model_foundry.foundation.interrupts import handle_signals


def probe(
    model: Annotated[
        Path,
        argument(
            "MODEL", "Directory of a run, a checkpoint or a model.", path_argument, complete_run
        ),
    ],
    config: Config,
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Number of trainings.")] = 3,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Train the head alone; default.")
    ] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Train the body too.")] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Train heads on the body of a trained model, over seeds."""
    if frozen and whole:
        raise typer.BadParameter("--frozen and --whole exclude each other; give one")
    with handle_signals():
        experiment = load(config, overrides)
        from model_foundry.cli.process import allow_tf32, set_up_process

        set_up_process(experiment.training.speed)  # before torch is imported
        allow_tf32(experiment.training.speed)
        from model_foundry.experiment.probe import probe as run

        report = run(model, experiment, seeds=seeds, frozen=not whole)
    mark_as_report()
    for line in report.lines():
        typer.echo(line)
