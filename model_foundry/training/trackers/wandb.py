"""Weights & Biases, online or as files for `wandb sync`."""

import atexit
import os
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from model_foundry.training.histograms import PendingHistograms
from model_foundry.training.sinks import Values
from model_foundry.training.trackers.base import TrackedRun, Tracker, figures_of

STEP = "step"
SERVICE = "wandb-core"  # the process that talks to the server
NOTICE_SECONDS = 1.0


class WandbTracker(Tracker):
    """Logs to a run of W&B, whose id is kept for later attempts.

    W&B counts the calls of `log` as its own steps, which cannot go back; the step of the training
    is a metric, which all others are drawn over. Steps that are made again are logged again.
    """

    _services_before: ClassVar[frozenset[int]] = frozenset()
    """Process ids of services of W&B that are not ours."""

    def __init__(self, section: Any, run: TrackedRun) -> None:
        import wandb

        super().__init__(section, run)
        self._wandb = wandb
        type(self)._services_before = frozenset(each.pid for each in _services())
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

    @classmethod
    def leave(cls) -> None:
        """End the service of W&B when the process ends, for `wandb` waits for it without limit.

        It gets its notice first: without the service, `wandb` would fail to send that.
        """
        exiting = threading.Event()

        def end() -> None:
            exiting.wait()
            time.sleep(NOTICE_SECONDS)
            cls._end_service()

        threading.Thread(target=end, name="end of wandb", daemon=True).start()
        atexit.register(exiting.set)

    @classmethod
    def _end_service(cls) -> None:
        for service in _services():
            if service.pid not in cls._services_before:
                service.kill()


def _services() -> list[Any]:
    """Return the services of W&B that this process has started."""
    import psutil

    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.name().startswith(SERVICE):
                found.append(child)
    return found


def _mode(offline: bool | None) -> str:
    """Return the mode: as asked for, as $WANDB_MODE says, or offline without a key."""
    if offline is not None:
        return "offline" if offline else "online"
    without_key = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    return os.environ.get("WANDB_MODE") or without_key
