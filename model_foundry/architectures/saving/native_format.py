"""Model directories: their architecture, their weights, and the format of plain torch modules.

That format is `config.json` (the arguments of `from_config`) and `model.safetensors`. Architectures
made of transformers classes write HuggingFace directories instead. A directory is untrusted data:
names in it are keys of the registry, and none of its code is run.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

from model_foundry.config import ARCHITECTURES, HEADS, OBJECTIVES, ExperimentConfig, validate
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import reason_of, short_repr
from model_foundry.foundation.untrusted_files import read_json, require_regular_files
from model_foundry.registry import load_target

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ARCHITECTURE_KEY = "foundry_architecture"
KIND_KEY = "foundry_kind"  # in a HuggingFace directory; None: the kind of the architecture
MODEL_TYPE = "model_foundry"
"""No class of transformers has it; without one, versions before 5 guess from the directory name."""
NOTES = ("model_type", "plugin", "load_with")  # for readers; loading ignores them
LANGUAGE = "language"  # the kind of a BaseLanguageModel
ARGUMENTS, SECTION = "arguments", "objective_section"
NOT_RECORDED = {"implementation", "init_from"}  # settings of `model` that describe no function
REQUIRED = (ARCHITECTURE_KEY, "kind", ARGUMENTS, "max_sequence_length", "objective", "model")

Record = dict[str, Any]


def read_config_json(directory: Path) -> Record:
    """Read the `config.json` of a model directory.

    Raises:
        ConfigError: the file is missing, or holds no JSON object.
    """
    remedy = "name a directory that a model was saved in"
    return read_json(directory, CONFIG, error=ConfigError, remedy=remedy)


def architecture_of(directory: Path) -> str:
    """Return the registered name of the architecture of a model directory.

    For models from elsewhere it is HuggingFace's `model_type`, if that is a registered name.

    Raises:
        ConfigError: no registered architecture is named.
    """
    record = read_config_json(directory)
    name = record.get(ARCHITECTURE_KEY, record.get("model_type"))
    if not isinstance(name, str) or name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        own_code = "code of a model directory (auto_map) is never run; "
        plugin = record.get("plugin")
        file = plugin.get("file") if isinstance(plugin, dict) else None
        raise ConfigError(
            f"{directory / CONFIG}: names the architecture {short_repr(name)}, which is not "
            f"registered; {own_code if 'auto_map' in record else ''}available: {known}. Give the "
            f"file that registers it{f' ({short_repr(file)})' if isinstance(file, str) else ''} "
            "with --plugin, in Python to load_plugin."
        )
    return name


def class_of(name: str, kind: str) -> Any:
    """Return the class of models of a kind that an architecture gives, perhaps with a head.

    Args:
        name: of the architecture.
    """
    spec = ARCHITECTURES[name]
    if kind in spec.other_kinds:
        return load_target(spec.other_kinds[kind])
    return ARCHITECTURES.load(name) if spec.kind == kind else HEADS.load(kind)


def saved_class(directory: Path) -> tuple[str, Any]:
    """Return the architecture of a model directory, and the class of its model.

    Raises:
        ConfigError: they are not registered.
    """
    name, record = architecture_of(directory), read_config_json(directory)
    own = ARCHITECTURES[name].kinds
    kind: Any = record.get("kind", record.get(KIND_KEY, own[0]))
    if kind not in own and not (isinstance(kind, str) and kind in HEADS):
        raise ConfigError(
            f"{directory / CONFIG}: holds a model of kind {short_repr(kind)}, which {name!r} gives "
            "only with a head that is not registered; give the file that registers it with "
            "--plugin, in Python to load_plugin."
        )
    return name, class_of(name, kind)


def build_record(
    config: ExperimentConfig, plugin: tuple[str, str] | None = None, **arguments: Any
) -> Record:
    """Return the arguments of `from_config` as plain JSON, without paths and data.

    Args:
        plugin: name and SHA-256 of the plugin file that defines the class; None: no plugin.
        **arguments: those besides the experiment; see `as_json`.
    """
    name, objective = config.model.architecture, config.training.objective
    record = {
        **_notes(plugin),
        ARCHITECTURE_KEY: name,
        "kind": OBJECTIVES[objective].model_kind,
        ARGUMENTS: arguments,
        "max_sequence_length": config.data.max_sequence_length,
        "objective": objective,
        "model": config.model.model_dump(mode="json", exclude_none=True, exclude=NOT_RECORDED),
    }
    if schema := OBJECTIVES[objective].schema:
        section = getattr(config.training, objective, None) or schema()
        record[SECTION] = section.model_dump(mode="json", exclude_none=True)
    return record


def as_json(arguments: Record) -> Record:
    """Return arguments of `from_config` as a saved model gives them: lists in place of tuples.

    Raises:
        TypeError: one of them is not plain JSON.
    """
    try:
        plain: Record = json.loads(json.dumps(arguments, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the arguments of a model must be plain JSON, since they are saved with it: {error}"
        ) from error
    return plain


def _notes(plugin: tuple[str, str] | None) -> Record:
    """Return notes on loading a directory, for people and other tools."""
    first = "import what registers the architecture"
    notes: Record = {"model_type": MODEL_TYPE}
    if plugin is not None:
        name, digest = plugin
        notes["plugin"] = {"file": name, "sha256": digest}
        first = f"model_foundry.architectures.load_plugin('{name}')"
    notes["load_with"] = (
        f"{first}, then model_foundry.model.load_model(DIRECTORY); "
        "the Auto classes of transformers do not know this model"
    )
    return notes


def read_record(record: Record, source: str) -> tuple[ExperimentConfig, Record]:
    """Return the experiment and the further arguments of `from_config` from a record.

    Args:
        source: the file of the record, for messages.

    Raises:
        ConfigError: the record is invalid.
    """
    arguments = _arguments(record, source)
    training = {"objective": record["objective"], "max_steps": 1}
    if SECTION in record:
        training[str(record["objective"])] = record[SECTION]
    config = validate(
        {
            "experiment_name": record[ARCHITECTURE_KEY],
            "data": {"train": ".", "max_sequence_length": record["max_sequence_length"]},
            "model": record["model"],
            "training": training,
        },
        source,
    )
    name, objective = config.model.architecture, config.training.objective
    if name != record[ARCHITECTURE_KEY] or record["kind"] != OBJECTIVES[objective].model_kind:
        fault = f"holds the settings of {name!r}, of another architecture or kind"
        raise ConfigError(f"{source}: {fault}; save the model again.")
    return config, arguments


def _arguments(record: Record, source: str) -> Record:
    """Return the arguments of a record after its keys are checked."""
    missing = [key for key in REQUIRED if key not in record]
    strays = [key for key in record if key not in (*REQUIRED, SECTION, *NOTES)]
    if missing or strays:
        fault = f"lacks {missing[0]}" if missing else f"has a {short_repr(strays[0])} it should not"
        raise ConfigError(f"{source}: {fault}; save the model again.")
    arguments: Record = record[ARGUMENTS]
    if not isinstance(arguments, dict):
        fault = f"{ARGUMENTS} must be a JSON object, got {short_repr(arguments)}"
        raise ConfigError(f"{source}: {fault}; save the model again.")
    return arguments


def save_model_files(model: nn.Module, record: Record, directory: Path) -> None:
    """Write a record and the weights; tied tensors are stored once."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (directory / CONFIG).write_text(text, encoding="utf-8")
    save_model(model, str(directory / WEIGHTS))


def weight_files(directory: Path) -> list[str]:
    """Return the names of the weight files: one, or the shards of an index.

    Raises:
        ConfigError: the index names anything but shards.
    """
    if (directory / WEIGHTS).exists() or not (directory / INDEX).exists():
        return [WEIGHTS]
    index = read_json(directory, INDEX, error=ConfigError, remedy="save the model again")
    shards = index.get("weight_map")
    names = set(map(str, shards.values())) if isinstance(shards, dict) else {"nothing"}
    for name in names:
        if not SHARD.fullmatch(name):
            raise ConfigError(
                f"{directory / INDEX}: {short_repr(name)} is no name of a shard "
                "(model-00001-of-00002.safetensors); save the model again."
            )
    return sorted(names)


def read_weights(directory: Path) -> dict[str, Tensor]:
    """Read all tensors of a model directory, from safetensors only.

    Raises:
        ConfigError: a file is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for name in weight_files(directory):
        require_regular_files(directory, name, error=ConfigError)
        try:
            tensors |= load_file(directory / name)
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
            pickled = any((directory / pickle).exists() for pickle in PICKLES)
            hint = "; pickled weights are not read, save them as safetensors" if pickled else ""
            raise ConfigError(
                f"{directory / name}: does not hold weights: {reason_of(error)}{hint}."
            ) from error
    return tensors


def require_fit(model: nn.Module, tensors: Mapping[str, Tensor], directory: Path) -> None:
    """Refuse weights that are too few for a model, or no floating-point numbers.

    Args:
        model: may be on the meta device, where a false size takes no memory.
    """
    unsaved = getattr(model, "_keys_to_ignore_on_save", None) or ()  # such as Marian's sinusoids
    named = model.named_parameters()
    parameters = {name: parameter for name, parameter in named if name not in unsaved}
    wanted = sum(parameter.numel() for parameter in parameters.values())
    held = sum(tensor.numel() for tensor in tensors.values())
    if wanted > held:
        raise ConfigError(
            f"{directory / WEIGHTS}: holds {held:,} numbers, too few for the {wanted:,} parameters "
            f"that {CONFIG} describes; save the model again."
        )
    for name, tensor in tensors.items():
        # buffers, such as positions, may be of any type
        is_weight = any(f".{parameter}".endswith(f".{name}") for parameter in parameters)
        if is_weight and not tensor.is_floating_point():
            raise ConfigError(
                f"{directory / WEIGHTS}: {short_repr(name)} is of {tensor.dtype}, but weights are "
                "floating-point numbers; save the model again."
            )


def load_weights(model: nn.Module, directory: Path) -> None:
    """Load the weights of a directory into a model; tied weights stay tied.

    Raises:
        ConfigError: the file is missing or damaged, or its tensors are not those of the model.
    """
    require_fit(model, read_weights(directory), directory)
    path = directory / WEIGHTS
    try:
        load_model(model, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(
            f"{path}: does not hold the weights of this model: {reason_of(error)}"
        ) from error
