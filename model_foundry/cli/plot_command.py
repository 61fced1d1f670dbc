"""The command `foundry plot`; `commands` registers it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_foundry.cli.output import mark_as_report
from model_foundry.cli.shared_options import Debug, argument, path_argument

if TYPE_CHECKING:
    from model_foundry.run_reports.plot import Panel

MOST = 4  # panels of a run that logs none of the usual figures


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
    from model_foundry.run_reports.plot import draw, require_format, save_picture

    place = output or Path("curves.png")
    require_format(place)
    panels = _panels(list(dict.fromkeys(runs)), metrics or [], x)
    save_picture(draw(panels, axis=x, smooth=smooth, log=log), place)
    mark_as_report()
    typer.echo(f"{place}: {', '.join(panel.metric for panel in panels)}")


def _panels(runs: list[Path], metrics: list[str], axis: str) -> "list[Panel]":
    """Return a panel for each figure; without `metrics`, for those that are drawn by default."""
    from model_foundry.errors import ConfigError
    from model_foundry.run_reports import curves
    from model_foundry.run_reports.finding_runs import require_run
    from model_foundry.run_reports.plain_settings import settings_of
    from model_foundry.run_reports.plot import Panel
    from model_foundry.run_reports.run_names import names_of_runs
    from model_foundry.run_reports.run_report import RunReader

    files = [require_run(path) for path in runs]
    reports = [RunReader(each).read(time.time())[0] for each in files]
    if not (known := curves.metric_names(reports)):
        raise ConfigError(f"{runs[0]}: nothing has been logged yet")
    curves.require_metrics(reports, metrics)
    names = names_of_runs([settings_of(each) for each in files], [str(each.path) for each in files])
    deciding = [f"eval/{report.view.facts.best_metric}" for report in reports]
    wanted = dict.fromkeys((*curves.DEFAULT_METRICS[:2], *deciding, *curves.DEFAULT_METRICS[2:]))
    for each in reports:
        if not any(name in line for line in each.lines for name in metrics or known):
            typer.echo(f"warning: {each.files.path}: has none of these figures; left out", err=True)
    default = [name for name in wanted if name in known] or known[:MOST]
    return [
        Panel(
            metric=metric,
            curves={
                name: curves.curve_of(report, metric, axis)
                for name, report in zip(names, reports, strict=True)
                if any(metric in line for line in report.lines)
            },
        )
        for metric in metrics or default
    ]
