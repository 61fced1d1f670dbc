"""The size of a checkpoint on the disk, and of all that a run leaves."""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from torch import Tensor
from transformers.dynamic_module_utils import get_relative_import_files

from model_foundry.architectures import BaseModel
from model_foundry.config import TrainingConfig
from model_foundry.objectives import Prepared
from model_foundry.objectives.processors import save_processors
from model_foundry.planning.figures import Disk, Schedule
from model_foundry.planning.machine import free_disk
from model_foundry.planning.schedule import kept_checkpoints
from model_foundry.run_reports.run_files import RunFiles
from model_foundry.training.checkpoint.choice import step_directories

HEADER_OF_A_TENSOR: Final = 110  # bytes of its name, type and place in a safetensors file
RECORDS_OF_A_MODEL: Final = 4 * 2**10  # config.json, generation_config.json, manifest.json
RECORDS_TO_RESUME: Final = 32 * 2**10  # state.json with all settings, states of the generators


def model_bytes(model: BaseModel, prepared: Prepared) -> int:
    """Return the bytes of a model's directory: weights, processors and modelling code."""
    weights = _tensor_bytes(model.state_dict().values())
    with tempfile.TemporaryDirectory() as place:
        save_processors(prepared.processors, Path(place), positions=model.num_positions)
        beside = bytes_below(Path(place))
    return weights + beside + _code_bytes(model) + RECORDS_OF_A_MODEL


def checkpoint_bytes(model_directory: int, beside: int, tensors: int) -> int:
    """Return the bytes of a checkpoint to resume from.

    Args:
        model_directory: see `model_bytes`.
        beside: bytes of the optimizer's state and of the average of the weights.
        tensors: number of tensors among these.
    """
    return model_directory + beside + HEADER_OF_A_TENSOR * tensors + RECORDS_TO_RESUME


def bytes_below(directory: Path) -> int:
    """Return the bytes of all files of a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def present_bytes(run: Path) -> int:
    """Return the bytes of the checkpoints that a run directory has already."""
    places = step_directories(RunFiles(run).checkpoints)
    return sum(bytes_below(place) for place in places)


def _tensor_bytes(tensors: Iterable[Tensor]) -> int:
    stored = {t.untyped_storage()._cdata: t.nbytes + HEADER_OF_A_TENSOR for t in tensors}
    return sum(stored.values())


def _code_bytes(model: BaseModel) -> int:
    """Return the bytes of the code that transformers copies beside the weights."""
    exported = {type(m) for m in model.modules() if getattr(type(m), "_auto_class", None)}
    files: set[str] = set()
    for cls in exported:
        source = sys.modules[cls.__module__].__file__
        if source is not None:
            files |= {source, *map(str, get_relative_import_files(source))}
    return sum(Path(file).stat().st_size for file in files)


def plan_disk(
    config: TrainingConfig,
    schedule: Schedule,
    *,
    checkpoint: int,
    model: int,
    models: int,
    run: Path,
) -> Disk:
    """Add up what a run leaves on its disk.

    Args:
        checkpoint: bytes of a checkpoint to resume from.
        model: bytes of a model directory.
        models: final models: that of the weights, and that of their average.
        run: the run directory, which need not exist.
    """
    kept, lean = kept_checkpoints(config, schedule)
    saved = {*schedule.checkpoints, *schedule.milestones}
    extra = 1 if len(saved) > kept + lean else 0
    return Disk(
        checkpoint=checkpoint,
        model=model,
        models=models,
        kept=kept,
        lean=lean,
        extra=extra,
        in_all=(kept + extra) * checkpoint + (lean + models) * model,
        present=present_bytes(run),
        free=free_disk(run),
    )
