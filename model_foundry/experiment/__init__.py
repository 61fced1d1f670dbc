"""One experiment, from its configuration to its run directory."""

from model_foundry.experiment.train import check, train

__all__ = ["check", "train"]
