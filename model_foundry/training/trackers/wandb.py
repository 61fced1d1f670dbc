"""Weights & Biases, online or as files for `wandb sync`."""

import os
import uuid
from collections.abc import Mapping
from typing import Any

from model_foundry.training.histograms import PendingHistograms
from model_foundry.training.sinks import Values
from model_foundry.training.trackers.base import TrackedRun, Tracker, figures_of

STEP = "step"


class WandbTracker(Tracker):
    """Logs to a run of W&B, whose id is kept for later attempts.

    W&B counts the calls of `log` as its own steps, which cannot go back; the step of the training
    is a metric, which all others are drawn over. Steps that are made again are logged again.
    """

    def __init__(self, section: Any, run: TrackedRun) -> None:
        import wandb

        super().__init__(section, run)
        self._wandb = wandb
        known = run.record.get("run_id")
        self._run = wandb.init(
            project=section.project or os.environ.get("WANDB_PROJECT") or "model-foundry",
            entity=section.entity,
            name=section.name or run.name,
            group=section.group,
            tags=section.tags,
            config=dict(run.settings),
            dir=str(section.directory or run.directory),
            id=known or uuid.uuid4().hex,
            resume="allow",
            settings=wandb.Settings(
                mode=_mode(section.offline),
                console="off",  # the terminal belongs to the training
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )
        if known is None:
            run.record.keep(run_id=self._run.id)
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)

    def write(self, step: int, values: Values) -> None:
        self._run.log({STEP: step, **figures_of(values)})

    def histograms(self, step: int, pending: PendingHistograms) -> None:
        drawn = {
            name: self._wandb.Histogram(np_histogram=(list(each.counts), list(each.edges)))
            for name, each in pending.counted().items()
        }
        self._run.log({STEP: step, **drawn})

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        self._run.log({STEP: step, **texts})

    def close(self) -> None:
        self._run.finish(exit_code=0 if self.run.state() == "completed" else 1)


def _mode(offline: bool | None) -> str:
    """Return the mode: as asked for, as $WANDB_MODE says, or offline without a key."""
    if offline is not None:
        return "offline" if offline else "online"
    without_key = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    return os.environ.get("WANDB_MODE") or without_key
