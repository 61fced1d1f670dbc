"""results.png: every ratio with its interval and its bar, above the long run.

    python -m benchmarks.plot DIRECTORY

It runs in a separate process, so that the measuring one stays small.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib

from benchmarks.ratios import Ratio
from benchmarks.results import Curve, Found

matplotlib.use("Agg")
from matplotlib import pyplot as plt

REACHED, MISSED, NOISE, UNASKED = "#2a7f62", "#b3402e", "#b98a1f", "#4a5a6a"
COLOURS: Final = {"yes": REACHED, "no": MISSED, "within noise": NOISE, "": UNASKED}
LEGEND: Final = (
    ("reached", REACHED),
    ("missed", MISSED),
    ("bar within the interval", NOISE),
    ("no bar", UNASKED),
)
ROW: Final = 0.27  # inches


def picture(records: dict[str, dict[str, Any]], place: Path) -> None:
    """Draw the results of the parts."""
    parts = [Found.from_json(record["found"]) for record in records.values()]
    ratios = [ratio for part in parts for ratio in part.ratios if ratio.values]
    curves = [curve for part in parts for curve in part.curves]
    heights = [1.2 + ROW * len(ratios)] + ([2.4] if curves else [])
    figure = plt.figure(figsize=(10, sum(heights)), layout="constrained")
    panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    if ratios:
        _ratios(panels[0][0].subplots(), ratios)
    if curves:
        axes = panels[1][0].subplots(1, len(curves), squeeze=False)[0]
        for axis, curve in zip(axes, curves, strict=True):
            _curve(axis, curve)
    figure.savefig(place, dpi=130)
    plt.close(figure)


def _ratios(axis: Any, ratios: list[Ratio]) -> None:
    axis.axvline(1, color="#999999", linewidth=0.8, zorder=0)
    ends = [1.0]
    for place, ratio in enumerate(ratios):
        low, high = ratio.interval
        ends += [low, high, ratio.bar or 1.0]
        colour = COLOURS[ratio.verdict]
        axis.plot([low, high], [place, place], color=colour, linewidth=3, solid_capstyle="butt")
        axis.plot(ratio.median, place, "o", color=colour, markersize=6)
        if ratio.bar is not None:
            axis.plot([ratio.bar] * 2, [place - 0.38, place + 0.38], color="black", linewidth=1.4)
        axis.annotate(
            f"{ratio.median:.2f}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=colour,
        )
    axis.set_yticks(range(len(ratios)), [_label(ratio) for ratio in ratios], fontsize=8)
    axis.set_ylim(len(ratios) - 0.4, -0.6)
    axis.set_xscale("log")
    axis.set_xlim(min(ends) / 1.1, max(ends) * 1.1)
    ticks = [
        t
        for t in (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 4, 6, 8)
        if ends and min(ends) / 1.1 <= t
    ]
    axis.set_xticks([tick for tick in ticks if tick <= max(ends) * 1.1])
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title("Ratio of ours to the other: median and 95% interval; black: the bar",
                   fontsize=10, loc="left")  # fmt: skip
    handles = [plt.Line2D([], [], marker="o", color=c, label=name) for name, c in LEGEND]
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.3, -0.9 / len(ratios)),
                ncols=4, fontsize=8, frameon=False)  # fmt: skip


def _label(ratio: Ratio) -> str:
    bound = "  (at most)" if ratio.at_most else ""
    return f"{ratio.group}:  {ratio.ours} / {ratio.other}{bound}"


def _curve(axis: Any, curve: Curve) -> None:
    axis.plot(curve.x, curve.y, color=UNASKED, linewidth=1)
    axis.set_ylim(0, 1.25 * sorted(curve.y)[int(0.99 * (len(curve.y) - 1))])
    axis.set_title(f"{curve.title}, {curve.unit}", fontsize=9, loc="left")
    axis.set_xlabel("step", fontsize=8)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.tick_params(labelsize=8)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    stored = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    picture(stored, directory / "results.png")
