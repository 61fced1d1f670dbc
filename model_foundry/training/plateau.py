"""Plateaus of the evaluated metric, which `reduce_lr_on_plateau` answers with a reduction.

The counters belong to the state of a run, so a resumed run reduces its learning rate at the steps
of the uninterrupted one.
"""

import math
from dataclasses import dataclass

from model_foundry.config import SCHEDULES, TrainingConfig
from model_foundry.config.schedules import PlateauConfig


@dataclass
class Plateau:
    """The evaluations of a run, as torch's `ReduceLROnPlateau` counts them."""

    best: float | None = None
    """The best value so far; None before the first."""
    bad_evaluations: int = 0
    """Evaluations since then, or since the last reduction, that were no improvement."""
    cooldown: int = 0
    """Evaluations to come that do not count, after a reduction."""
    reductions: int = 0
    """Plateaus so far."""

    def count(self, value: float, section: PlateauConfig, *, greater_is_better: bool) -> bool:
        """Count an evaluation; return True if it completes a plateau.

        Args:
            value: NaN and infinity are no improvement.
        """
        if self._improves(value, section.threshold, greater_is_better):
            self.best, self.bad_evaluations = value, 0
        else:
            self.bad_evaluations += 1
        if self.cooldown:
            self.cooldown -= 1
            self.bad_evaluations = 0
        if self.bad_evaluations <= section.patience:
            return False
        self.bad_evaluations, self.cooldown = 0, section.cooldown
        self.reductions += 1
        return True

    def _improves(self, value: float, threshold: float, greater_is_better: bool) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = value - self.best if greater_is_better else self.best - value
        return gain > threshold * abs(self.best)


def plateau_settings(training: TrainingConfig, step: int) -> PlateauConfig | None:
    """Return the settings by which an evaluation after `step` is counted; None: it is not.

    In the warm-up the learning rate is no cause of a plateau.
    """
    schedule = SCHEDULES[training.lr_scheduler_type]
    if not schedule.follows_evaluations or step < training.warmup_steps:
        return None
    section: PlateauConfig = training.section_of(schedule.name)
    return section
