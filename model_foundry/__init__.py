"""Model Foundry: train small language models of any architecture, and compare them fairly.

The public names are imported on first use, so that reading a configuration needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_foundry.config import ExperimentConfig, load_config
    from model_foundry.experiment import train
    from model_foundry.experiment.result import RunResult
    from model_foundry.model import create_model, load_model
    from model_foundry.training.sinks import Sink

__version__ = "0.1.0"
__all__ = [
    "ExperimentConfig",
    "RunResult",
    "Sink",
    "create_model",
    "load_config",
    "load_model",
    "train",
]

_HOMES = {
    "ExperimentConfig": "config",
    "RunResult": "experiment.result",
    "Sink": "training.sinks",
    "create_model": "model",
    "load_config": "config",
    "load_model": "model",
    "train": "experiment",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
