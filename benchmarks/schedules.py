"""docs/schedules.png: the learning rate over a run, for every built-in schedule.

    python -m benchmarks.schedules docs/schedules.png

The rates are those of the package. For `reduce_lr_on_plateau`, the plateaus are made up.
"""

import sys
from pathlib import Path
from typing import Any, Final

import matplotlib

from model_foundry.config import TrainingConfig
from model_foundry.training.lr_schedule import learning_rate

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STEPS, WARMUP = 1000, 100
PLATEAUS: Final = (400, 600, 800)  # steps
LINES: Final[tuple[tuple[str, dict[str, dict[str, Any]]], ...]] = (
    ("constant", {"": {}}),
    ("linear", {"": {}}),
    ("cosine", {"": {}}),
    ("cosine_with_restarts", {"": {}}),
    ("polynomial", {f"power: {p:g}": {"power": p} for p in (0.5, 2.0)}),
    ("inverse_sqrt", {"timescale: 100": {}, "timescale: 1000": {"timescale": 1000}}),
    (
        "warmup_stable_decay",
        {f"decay_type: {kind}": {"decay_type": kind} for kind in ("1-sqrt", "linear", "cosine")},
    ),
    ("reduce_lr_on_plateau", {f"factor: {f:g}": {"factor": f} for f in (0.5, 0.1)}),
)
"""Schedules, and the sections of their lines, by label."""
COLOURS: Final = ("#2a7f62", "#b98a1f", "#4a5a6a")


def draw(place: Path) -> None:
    """Draw one panel for each schedule."""
    figure, axes = plt.subplots(2, 4, figsize=(11, 4.6), sharex=True, sharey=True)
    for axis, (name, sections) in zip(axes.flat, LINES, strict=True):
        axis.axvspan(0, WARMUP, color="#eeeeee", linewidth=0)
        for colour, (label, section) in zip(COLOURS, sections.items(), strict=False):
            axis.plot(range(STEPS), rates(name, section), color=colour, linewidth=1.6, label=label)
        axis.set_title(name, fontsize=9, loc="left", family="monospace")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        if any(sections):
            corner = "upper right" if name == "reduce_lr_on_plateau" else "lower left"
            axis.legend(fontsize=7, frameon=False, loc=corner, bbox_to_anchor=(0.1, 0, 0.9, 1))
    for axis in axes[:, 0]:
        axis.set_ylabel("learning rate / peak", fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("step", fontsize=8)
    axes[0, 0].text(WARMUP + 12, 0.03, "warmup_steps: 100", fontsize=7, color="#777777")
    figure.tight_layout()
    figure.savefig(place, dpi=130)
    plt.close(figure)


def rates(name: str, section: dict[str, Any]) -> list[float]:
    """Return the rate of each step, as a share of the peak."""
    training = TrainingConfig(
        max_steps=STEPS,
        warmup_steps=WARMUP,
        learning_rate=1.0,
        lr_scheduler_type=name,
        **({name: section} if section else {}),
    )
    reductions = [sum(plateau <= step for plateau in PLATEAUS) for step in range(STEPS)]
    return [learning_rate(n, training, STEPS, reductions=r) for n, r in enumerate(reductions)]


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
