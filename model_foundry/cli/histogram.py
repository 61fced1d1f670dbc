"""A histogram of document lengths."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus_report import CorpusReport, SplitFigures
from model_foundry.run_reports.plot import save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008), distinct under common colour blindness; the dashes also in grey
STYLES = {
    "train": {"color": "#0072B2", "linestyle": "-"},
    "validation": {"color": "#D55E00", "linestyle": "--"},
    "test": {"color": "#009E73", "linestyle": "-."},
}
SIZE = 7.5, 4.8  # inches


def median_text(median: float) -> str:
    """Return a median of whole numbers as text, with .5 only where it has it."""
    return f"{median:,.1f}".removesuffix(".0")


def densities(split: SplitFigures, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of the documents in each bin, divided by its width in doublings.

    Bins of one and of two whole numbers lie side by side; their shares alone would make a step.
    """
    share = np.array(split.lengths.histogram) / split.documents
    return share / np.diff(np.log2(edges))


def _draw(axes: Any, split: SplitFigures, edges: NDArray[np.int64]) -> None:
    lengths, style = split.lengths, STYLES[split.name]
    density = densities(split, edges)
    label = (
        f"{split.name}: median {median_text(lengths.median)}, longest {lengths.longest:,} tokens"
    )
    axes.stairs(density, edges, linewidth=1.8, label=label, **style)
    if split.name == "train":
        axes.stairs(density, edges, fill=True, alpha=0.15, color=style["color"])
    axes.axvline(lengths.median, linewidth=1, alpha=0.8, zorder=1, **style)
    above = axes.get_xaxis_transform()  # y in shares of the height
    axes.plot(
        lengths.longest, 0.02, "v", color=style["color"], transform=above, clip_on=False, zorder=5
    )


def _label(axes: Any, report: CorpusReport) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    first, last = report.length_edges[0], report.length_edges[-1]
    margin = 1.08 if last > 4 * first else 1.5  # so that some tick is always within
    axes.set_xscale("log", base=2)
    axes.set_xlim(first / margin, last * margin)
    axes.xaxis.set_major_locator(LogLocator(base=2 if last < 2**10 * first else 10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda length, _: f"{length:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens in a document (log scale; thin lines: medians, triangles: longest)")
    axes.set_ylabel("share of documents for each doubling of the length")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def draw_histogram(report: CorpusReport) -> "Figure":
    """Draw the lengths of the documents of each text; areas are shares of documents."""
    from matplotlib.figure import Figure  # no pyplot: it would ask for a display

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    edges = np.array(report.length_edges)
    for split in report.splits:
        _draw(axes, split, edges)
    _label(axes, report)
    figure.legend(
        title=f"Document lengths of {report.experiment_name}",
        title_fontsize="large",
        alignment="left",
        loc="outside upper left",
        frameon=False,
    )
    return figure


def save_histogram(report: CorpusReport, path: Path) -> None:
    """Draw the document lengths of each text into a PNG.

    Raises:
        SaveError: the file cannot be written.
    """
    save_picture(draw_histogram(report), path)
