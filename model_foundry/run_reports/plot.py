"""Pictures of curves: one small panel for each figure, one line for each run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_foundry.errors import ConfigError, SaveError
from model_foundry.foundation.atomic_files import UNFINISHED
from model_foundry.foundation.messages import figure_name
from model_foundry.run_reports.curves import STEP, Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008), distinct under common colour blindness; the dashes also in grey
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
FORMATS = (".png", ".svg")
RESOLUTION = 150  # dots an inch
PANEL = 4.6, 2.7  # inches
CROWDED = 4  # highest by lowest value of a log scale beyond which few ticks have labels
FEW_POINTS = 40  # up to here, each point of a curve is a dot
RATE = "train/learning_rate"
TITLES = {
    "train/loss": "training loss",
    "eval/loss": "evaluation loss",
    RATE: "learning rate",
    "train/grad_norm": "norm of the gradient",
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The curves of one figure, by the name of their run."""

    metric: str
    curves: dict[str, Curve]


def draw(
    panels: Sequence[Panel], *, axis: str = STEP, smooth: int = 1, log: bool = False
) -> "Figure":
    """Draw a panel for each figure.

    Args:
        axis: label of the horizontal axes.
        smooth: points over which curves of training are averaged; 1: none.
        log: draw values on a logarithmic scale.
    """
    from matplotlib.figure import Figure  # no pyplot: it would ask for a display

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    picture = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.5), layout="constrained")
    grid = picture.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    for axes, panel in zip(grid, panels, strict=False):
        for name, curve in panel.curves.items():
            _draw_curve(axes, panel.metric, curve, _style(names.index(name)), smooth)
        _label(axes, panel, axis, log)
    for axes in grid[len(panels) :]:
        axes.remove()
    _add_legend(picture, names, panels)
    return picture


def _style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
    }


def _draw_curve(axes: Any, metric: str, curve: Curve, style: dict[str, Any], smooth: int) -> None:
    trains = metric.startswith("train/")
    smooth = smooth if trains and metric != RATE else 1  # the rate has no noise
    few = len(curve.x) == 1 if trains else len(curve.x) <= FEW_POINTS
    dots = {"marker": "o", "markersize": 3.5} if few else {}
    y = curve.smoothed(smooth)
    if smooth > 1:
        axes.plot(curve.x, curve.y, color=style["color"], linewidth=0.7, alpha=0.3)
    axes.plot(curve.x, y, linewidth=1.5, **style, **dots)
    for place in curve.attempts:
        axes.axvline(place, color=style["color"], linewidth=0.8, alpha=0.6, linestyle=":")
    if curve.best is not None:
        point = curve.x[curve.best], curve.y[curve.best]
        star = {"color": style["color"], "markeredgecolor": "white"}
        axes.plot(*point, "*", markersize=11, zorder=5, **star)


def _label(axes: Any, panel: Panel, axis: str, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    kind, _, name = panel.metric.partition("/")
    kind = {"train": "training", "eval": "evaluation"}.get(kind, figure_name(kind))
    axes.set_title(TITLES.get(panel.metric, f"{kind} {figure_name(name)}"), fontsize=10, loc="left")
    axes.set_xlabel(axis, fontsize=9)
    axes.tick_params(labelsize=8, labelbottom=True, which="both")
    if log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        digits = "25" if high / low > CROWDED else "123456789"
        axes.yaxis.set_minor_formatter(
            FuncFormatter(lambda v, _: f"{v:g}" if f"{v:e}"[0] in digits else "")
        )
    axes.yaxis.set_major_formatter(plain)
    if axis != "hours":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_number(value)))
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, which="both")
    axes.set_axisbelow(True)


def _short_number(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:,.0f}"


def _add_legend(picture: "Figure", names: Sequence[str], panels: Sequence[Panel]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], label=name, linewidth=1.5, **_style(number))
        for number, name in enumerate(names)
    ]
    curves = [curve for panel in panels for curve in panel.curves.values()]
    grey: dict[str, Any] = {"color": "#777777"}
    if any(curve.best is not None for curve in curves):
        star: dict[str, Any] = {"marker": "*", "markersize": 10, "linestyle": "", **grey}
        handles.append(Line2D([], [], label="best evaluation", **star))
    if any(curve.attempts for curve in curves):
        handles.append(Line2D([], [], label="resumed", linestyle=":", linewidth=0.8, **grey))
    picture.legend(
        handles=handles,
        loc="outside upper left",
        ncols=min(len(handles), 2 if max(map(len, names)) > 30 else 4),
        fontsize=9,
        frameon=False,
        handlelength=3,
    )


def require_format(path: Path) -> None:
    """Raise a `ConfigError` unless the name of a picture ends in .png or .svg."""
    if path.suffix.lower() not in FORMATS:
        law = " or ".join(FORMATS)
        raise ConfigError(f"--output {path}: must end in {law}, got {path.suffix or 'no ending'!r}")


def save_picture(picture: "Figure", path: Path) -> None:
    """Write a picture as PNG or SVG; the same picture gives the same bytes.

    Raises:
        SaveError: the file cannot be written.
    """
    import matplotlib

    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    aside = path.with_name(f"{UNFINISHED}{path.name}-{os.getpid()}")
    try:
        with matplotlib.rc_context({"svg.hashsalt": "foundry", "svg.fonttype": "none"}):
            picture.savefig(aside, dpi=RESOLUTION, format=kind, metadata=metadata)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise SaveError(f"{path}: cannot be written ({error.strerror}).") from error
