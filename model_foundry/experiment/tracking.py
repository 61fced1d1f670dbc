"""The trackers of a run, and the hooks that measure what only trackers take."""

from functools import partial
from typing import Any

from model_foundry.config import TRACKERS, ExperimentConfig
from model_foundry.config.fields import flat
from model_foundry.config.tracker_secrets import secret_faults
from model_foundry.config.tracking import takes, tracker_faults, writes_texts
from model_foundry.config.validation import refusal
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.samples import SamplesHook
from model_foundry.objectives import Prepared
from model_foundry.training.histogram_hook import HistogramHook
from model_foundry.training.hooks import Hook
from model_foundry.training.sinks import Sinks
from model_foundry.training.trackers.background import Background
from model_foundry.training.trackers.base import TrackedRun, Tracker
from model_foundry.training.trackers.record import TrackerRecords
from model_foundry.training.trackers.sample_file import SampleFile


def check_trackers(config: ExperimentConfig) -> None:
    """Check that the trackers of an experiment can be used here.

    Raises:
        ConfigError: one is unknown, or its package is not installed, or its settings hold a
            secret; with the remedy.
    """
    if faults := [*tracker_faults(config.tracking), *secret_faults(config)]:
        raise refusal(faults, "config", config.origins)


def add_trackers(
    sinks: Sinks, config: ExperimentConfig, run: RunDirectory, prepared: Prepared
) -> list[Hook]:
    """Add the trackers of an experiment to the sinks of its run; return the hooks that serve them.

    Called on rank 0. Nothing starts before the log is rewound.
    """
    tracking, hooks = config.tracking, list[Hook]()
    records = TrackerRecords(run.path / "trackers.json", run.require_held)
    settings = dict(flat(config.recorded()))

    def state() -> str:
        status = run.status()
        return "failed" if status is None else status.state

    kept = {"histograms": tracking.histogram_steps, "texts": tracking.samples}
    recorded = [what for what, setting in kept.items() if setting is not None]

    def add(name: str, tracker: type[Tracker], section: Any = None, **how: Any) -> None:
        tracked = TrackedRun(
            directory=run.path,
            name=config.experiment_name,
            settings=settings,
            record=records.of(name),
            state=state,
        )
        sinks.add(
            Background(
                name, partial(tracker, section, tracked), tracked.record, leave=tracker.leave, **how
            )
        )

    for spec in tracking.specs:
        keeps = [what for what in recorded if what in spec.takes]
        add(spec.name, TRACKERS.load(spec.name), tracking.section_of(spec.name), keeps=keeps)
    if tracking.histogram_steps is not None and takes(tracking, "histograms"):
        hooks.append(HistogramHook(sinks, tracking.histogram_steps))
    if tracking.samples is not None and writes_texts(config.training.objective):
        add("samples", SampleFile, takes_lines=False)
        hooks.append(SamplesHook(sinks, tracking.samples, prepared))
    return hooks
