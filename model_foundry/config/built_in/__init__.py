"""The registries of everything that an experiment names, with the built-in entries.

An implementation is imported through the `target` of its spec on demand. Other packages announce
theirs in entry points, in a group for each kind: `model_foundry.architectures`,
`model_foundry.objectives` and so on.
"""

from model_foundry.config.built_in.architectures import ARCHITECTURES, HEADS
from model_foundry.config.built_in.data import INTERVENTIONS, SOURCES
from model_foundry.config.built_in.objectives import LOSSES, METRICS, OBJECTIVES
from model_foundry.config.built_in.trackers import TRACKERS
from model_foundry.config.built_in.training import OPTIMIZERS, SCHEDULES

__all__ = [
    "ARCHITECTURES",
    "HEADS",
    "INTERVENTIONS",
    "LOSSES",
    "METRICS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SOURCES",
    "TRACKERS",
]
