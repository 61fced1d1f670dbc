"""One experiment, from its configuration to its run directory."""

from model_foundry.experiment.preflight import check
from model_foundry.experiment.train import train

__all__ = ["check", "train"]
