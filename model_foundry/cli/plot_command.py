"""The command `foundry plot`; `commands` registers it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli.shared_options import Debug, argument, path_argument


def plot(
    runs: Annotated[list[Path], argument("RUN", "Directories of runs.", path_argument)],
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="Figure of the log, such as eval/loss."),
    ] = None,
    x: Annotated[
        str, typer.Option("--x", metavar="UNIT", help="step, hours, or a unit such as tokens.")
    ] = "step",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_argument,
            help="Picture, .png or .svg; by default curves.png.",
        ),
    ] = None,
    smooth: Annotated[
        int, typer.Option(metavar="N", min=1, help="Points of training that are averaged.")
    ] = 1,
    log: Annotated[bool, typer.Option("--log", help="Logarithmic scale of values.")] = False,
    debug: Debug = False,
) -> None:
    """Draw the curves of one or several runs."""
    from model_foundry.errors import ConfigError
    from model_foundry.run_reports.curves import (
        DEFAULT_METRICS,
        curve_of,
        metric_names,
        require_metrics,
    )
    from model_foundry.run_reports.finding_runs import require_run
    from model_foundry.run_reports.plain_settings import settings_of
    from model_foundry.run_reports.plot import Panel, draw, require_format, save_picture
    from model_foundry.run_reports.run_names import names_of_runs
    from model_foundry.run_reports.run_report import RunReader

    output = output or Path("curves.png")
    require_format(output)
    files = [require_run(path) for path in dict.fromkeys(runs)]
    reports = [RunReader(each).read(time.time())[0] for each in files]
    if not (known := metric_names(reports)):
        raise ConfigError(f"{runs[0]}: nothing has been logged yet")
    require_metrics(reports, metrics or [])
    names = names_of_runs([settings_of(each) for each in files], [str(each.path) for each in files])
    panels = [
        Panel(
            metric=metric,
            curves={
                name: curve_of(report, metric, x)
                for name, report in zip(names, reports, strict=True)
                if any(metric in line for line in report.lines)
            },
        )
        for metric in metrics or [name for name in DEFAULT_METRICS if name in known] or known[:4]
    ]
    save_picture(draw(panels, axis=x, smooth=smooth, log=log), output)
    typer.echo(f"{output}: {', '.join(panel.metric for panel in panels)}")
