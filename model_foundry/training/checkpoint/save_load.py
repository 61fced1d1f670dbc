"""One checkpoint, and the final model: plain HuggingFace directories, without pickle.

Tensors are kept in safetensors, the rest in JSON. A checkpoint exists from the moment when
`commit_directory` renames it; before that there is nothing that a reader would take for one.
`choice` chooses among several checkpoints.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model_foundry.architectures import BaseModel, CountedModel
from model_foundry.errors import CheckpointError, ConfigError, NonFiniteError
from model_foundry.foundation.atomic_files import MANIFEST, commit_directory
from model_foundry.foundation.failpoints import failpoint
from model_foundry.foundation.messages import reason_of
from model_foundry.foundation.random_state import (
    INVALID_STATES,
    RandomStates,
    restore_random_states,
)
from model_foundry.objectives.processors import Processors, save_processors
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint.optimizer_state import (
    NUMBERS_FILE,
    TENSORS_FILE,
    OptimizerState,
    write_optimizer,
)
from model_foundry.training.checkpoint.state_file import (
    STATE_FILE,
    CheckpointState,
    read_state,
    write_state,
)
from model_foundry.training.weight_average import WeightAverage

RANDOM_FILE, CARRIED_FILE = "random_states.safetensors", "carried.safetensors"
AVERAGE_FILE = "average.safetensors"
TO_RESUME = (TENSORS_FILE, NUMBERS_FILE, RANDOM_FILE, CARRIED_FILE, AVERAGE_FILE)
SMALL_FILES = 2**20  # bytes of tokenizer and JSON, about: for the message when there is no room


def save_model(directory: Path, model: BaseModel, processors: Processors) -> None:
    """Write model and processors as one directory; that of a language model is for `transformers`.

    Raises:
        NonFiniteError: a weight is NaN or infinite.
        SaveError: the directory cannot be written.
    """
    require_finite(model.state_dict().items(), "weight")
    with commit_directory(directory, needed=_bytes(model.parameters())) as aside:
        _write_model(aside, model, processors)


@dataclass(frozen=True, kw_only=True)
class ResumeTensors:
    """Tensors that training resumes from, beside the weights."""

    optimizer: OptimizerState | None
    """None: the model learns by counting."""
    random: Mapping[str, Tensor]
    """States of the random generators; see `pack_random_states`."""
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    """States from which rows continue; empty: rows are independent."""
    average: Mapping[str, Tensor] = field(default_factory=dict)
    """Average of the weights; empty: there is none."""


def save_checkpoint(
    directory: Path,
    model: BaseModel,
    processors: Processors,
    state: CheckpointState,
    tensors: ResumeTensors | None = None,
) -> None:
    """Write model, processors, counters and whatever training resumes from as one directory.

    Args:
        tensors: None: the checkpoint is for analysis only.

    Raises:
        NonFiniteError: a weight, an optimizer moment or a carried state is NaN or infinite.
        SaveError: the directory cannot be written.
    """
    require_finite(model.state_dict().items(), "weight")
    files: dict[str, Mapping[str, Tensor]] = {}
    every: list[Tensor] = []
    if tensors is not None:
        if tensors.optimizer is not None:
            require_finite(tensors.optimizer.finite(), "moment of the optimizer")
            every = [*tensors.optimizer.tensors.values()]
        require_finite(tensors.carried.items(), "state of the model")
        files = {RANDOM_FILE: tensors.random}
        files |= {CARRIED_FILE: tensors.carried} if tensors.carried else {}
        require_finite(tensors.average.items(), "average of a weight")
        files |= {AVERAGE_FILE: tensors.average} if tensors.average else {}
        every += [*tensors.carried.values(), *tensors.average.values()]
    with commit_directory(directory, needed=_bytes((*model.parameters(), *every))) as aside:
        _write_model(aside, model, processors)
        failpoint(f"{directory.name}: model and processors written")
        if tensors is not None and tensors.optimizer is not None:
            write_optimizer(aside, tensors.optimizer)
            failpoint(f"{directory.name}: optimizer written")
        for name, content in files.items():
            save_file(dict(content), aside / name)
            failpoint(f"{directory.name}: {name.partition('.')[0]} written")
        write_state(aside, state)


def pack_random_states(
    states: Sequence[RandomStates],
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return tensors and JSON values of the random states of all ranks.

    Tensors of rank r > 0 are named `r/<name>`; the JSON values are in the order of ranks.
    """
    tensors = {
        f"{rank}/{name}" if rank else name: tensor
        for rank, (of_rank, _) in enumerate(states)
        for name, tensor in of_rank.items()
    }
    return tensors, [values for _, values in states]


def keep_only_the_model(directory: Path) -> None:
    """Delete from a checkpoint everything that only resuming needs.

    Raises:
        CheckpointError: the directory is not a checkpoint.
        SaveError: it cannot be written again.
    """
    nothing: dict[str, Any] = {"random": None, "random_of_others": [], "scaler": None}
    facts = read_state(directory).model_copy(update=nothing)
    with commit_directory(directory) as aside:
        left_out = shutil.ignore_patterns(*TO_RESUME, STATE_FILE, MANIFEST)
        shutil.copytree(directory, aside, dirs_exist_ok=True, ignore=left_out)
        write_state(aside, facts)


def load_weights(directory: Path, model: BaseModel) -> None:
    """Load the weights of a checkpoint into a model; tied weights stay tied.

    Raises:
        CheckpointError: the checkpoint is of another model.
    """
    try:
        saved = type(model).load_directory(directory).state_dict()
        if isinstance(model, CountedModel):
            model.allocate(saved)
        own = model.state_dict()
        strange = [
            name for name in own.keys() & saved.keys() if _kind(own[name]) != _kind(saved[name])
        ]
        if strange:
            raise CheckpointError(f"{directory}: {min(strange)} has another shape or type")
        model.load_state_dict(saved)
    except (ConfigError, RuntimeError) as error:
        reason = reason_of(error)
        raise CheckpointError(f"{directory}: does not hold this model ({reason})") from error


def load_random_states(directory: Path, state: CheckpointState, *, rank: int = 0) -> list[str]:
    """Set the global random generators to the states of a checkpoint.

    Args:
        rank: process whose states are used; more processes must have written the checkpoint.

    Returns:
        The devices of this machine for which there is no state.

    Raises:
        CheckpointError: the states are damaged.
    """
    tensors = _load_tensors(directory / RANDOM_FILE)
    try:
        if rank == 0:
            return restore_random_states(tensors, state.random or {})
        own = {n.partition("/")[2]: t for n, t in tensors.items() if n.startswith(f"{rank}/")}
        return restore_random_states(own, state.random_of_others[rank - 1])
    except INVALID_STATES as error:
        raise CheckpointError(f"{directory}: holds no random states ({error})") from error


def load_carried(directory: Path, carried: CarriedState) -> None:
    """Load the carried states of a checkpoint.

    Raises:
        CheckpointError: it has none, or those of other rows or another model.
    """
    path = directory / CARRIED_FILE
    try:
        carried.restore(_load_tensors(path))
    except ValueError as error:
        raise CheckpointError(f"{path}: does not hold the carried states ({error})") from error


def load_average(directory: Path, average: WeightAverage) -> None:
    """Load the average of the weights of a checkpoint.

    Raises:
        CheckpointError: it has none, or that of another model.
    """
    path = directory / AVERAGE_FILE
    try:
        average.restore(_load_tensors(path))
    except ValueError as error:
        raise CheckpointError(f"{path}: does not hold this average ({error})") from error


def require_finite(tensors: Iterable[tuple[str, Tensor]], what: str) -> None:
    """Raise a `NonFiniteError` if a value is NaN or infinite; `what` is in the message."""
    for name, tensor in tensors:
        if not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(
                f"a {what} is not finite ({name}); nothing was saved. Lower "
                "training.learning_rate, or lengthen training.warmup_steps."
            )


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors) + SMALL_FILES


def _write_model(directory: Path, model: BaseModel, processors: Processors) -> None:
    model.save_pretrained(directory)
    save_processors(processors, directory, positions=model.num_positions)
