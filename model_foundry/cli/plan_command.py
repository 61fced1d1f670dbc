"""The command `foundry plan`; `commands` registers it."""

from typing import Annotated

import typer

from model_foundry.cli.shared_options import (
    Config,
    Debug,
    Overrides,
    Plugins,
    load_with_warnings,
)
from model_foundry.foundation.interrupts import handle_signals

FAILS = 1


def plan(
    config: Config,
    overrides: Overrides = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train for some seconds, to know the time too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> int:
    """Show what a run will take, before it starts."""
    with handle_signals():
        experiment = load_with_warnings(config, overrides)
        from model_foundry.cli.process import allow_tf32, set_up_process

        set_up_process(experiment.training.speed)  # before torch is imported
        allow_tf32(experiment.training.speed)
        from rich.console import Console

        from model_foundry.cli.corpus_commands import without_figures_in_log
        from model_foundry.cli.plan_report import plan_lines
        from model_foundry.foundation.strict_json import strict_json
        from model_foundry.planning import build_plan
        from model_foundry.planning.machine import process_seconds

        with (
            without_figures_in_log(),
            Console(stderr=True).status("reading the experiment") as status,
        ):
            found = build_plan(
                experiment, measure=measure, announce=status.update, started=process_seconds()
            )
    lines = [strict_json(found.as_json(), indent=1)] if as_json else plan_lines(found)
    for line in lines:
        typer.echo(line)
    return FAILS if found.fails else 0
