"""Model directories: whose they are, and the format of architectures that are plain torch modules.

That format is `config.json` (what `from_config` was called with) beside `model.safetensors`.
Architectures made of transformers classes write HuggingFace directories instead.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import ConfigError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ARCHITECTURE_KEY = "foundry_architecture"

Record = dict[str, Any]


def read_config_json(directory: Path) -> Record:
    """Read the `config.json` of a model directory.

    Raises:
        ConfigError: the file is missing, or holds no JSON object.
    """
    path = directory / CONFIG
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); a model directory is needed."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON ({error}); save the model again.") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{path}: must hold a JSON object; save the model again.")
    return record


def architecture_of(directory: Path) -> str:
    """Return the registered name of the architecture whose weights a directory holds.

    It is what the directory was saved under, or, for models from elsewhere, HuggingFace's
    `model_type` where that is a registered name.

    Raises:
        ConfigError: no registered architecture is named.
    """
    record = read_config_json(directory)
    name = record.get(ARCHITECTURE_KEY, record.get("model_type"))
    if not isinstance(name, str) or name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError(
            f"{directory / CONFIG}: names the architecture {name!r}, which is not registered; "
            f"available: {known}. Give the file that registers it with --plugin."
        )
    return name


def build_record(config: ExperimentConfig, **ids: int | None) -> Record:
    """Return what `from_config` needs of an experiment, as plain JSON; no paths, no data."""
    return {
        ARCHITECTURE_KEY: config.model.architecture,
        **ids,
        "max_sequence_length": config.data.max_sequence_length,
        "objective": config.training.objective,
        "model": config.model.model_dump(mode="json", exclude_none=True),
    }


def experiment_of(record: Record) -> tuple[ExperimentConfig, dict[str, int | None]]:
    """Return the arguments of `from_config` that a record was made of."""
    rest = dict(record)
    architecture = rest.pop(ARCHITECTURE_KEY)
    config = ExperimentConfig.model_validate(
        {
            "experiment_name": architecture,
            "data": {"train": ".", "max_sequence_length": rest.pop("max_sequence_length")},
            "model": rest.pop("model"),
            "training": {"objective": rest.pop("objective"), "max_steps": 1},
        }
    )
    return config, rest


def save_plain(model: nn.Module, record: Record, directory: Path) -> None:
    """Write a record and the weights; tensors that are tied are stored once."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (directory / CONFIG).write_text(text, encoding="utf-8")
    save_model(model, str(directory / WEIGHTS))


def load_weights(model: nn.Module, directory: Path) -> None:
    """Fill a model with the weights of a directory; what it has tied stays tied.

    Raises:
        ConfigError: the file is missing or damaged, or its tensors are not those of the model.
    """
    path = directory / WEIGHTS
    try:
        load_model(model, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: does not hold the weights of this model: {reason}") from error
