"""Trackers: sinks of their own thread, each for one tool, named in `tracking.trackers`."""

from model_foundry.training.trackers.base import TrackedRun, Tracker, register_tracker

__all__ = ["TrackedRun", "Tracker", "register_tracker"]
