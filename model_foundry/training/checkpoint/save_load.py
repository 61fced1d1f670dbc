"""One checkpoint, and the final model: plain HuggingFace directories, without pickle.

Tensors are kept in safetensors, the rest in JSON. `commit_directory` is the one point at which a
checkpoint comes to be: before it there is nothing that a reader would take for one. Which of
several checkpoints is used is not decided here.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.errors import CheckpointError, ConfigError, NonFiniteError
from model_foundry.foundation.atomic_files import MANIFEST, commit_directory
from model_foundry.foundation.failpoints import failpoint
from model_foundry.foundation.messages import reason_of
from model_foundry.foundation.random_state import (
    INVALID_STATES,
    RandomStates,
    random_states,
    restore_random_states,
)
from model_foundry.tokenizer.saving import save_tokenizer
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint.state_file import (
    STATE_FILE,
    STATE_FORMAT,
    CheckpointState,
    Counters,
    read_state,
    write_state,
)
from model_foundry.training.run_fingerprint import RunFingerprint
from model_foundry.training.state import TrainState

OPTIMIZER_FILE, RANDOM_FILE, CARRIED_FILE = (
    "optimizer.safetensors",
    "random_states.safetensors",
    "carried.safetensors",
)
TO_RESUME = (OPTIMIZER_FILE, RANDOM_FILE, CARRIED_FILE)
STEP, SCALAR = "step", torch.Size([])  # the one tensor of AdamW that is shaped otherwise
SMALL_FILES = 2**20  # bytes of tokenizer and JSON, about: for the message when there is no room


def save_model(
    directory: Path, model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write model and tokenizer as one directory that `transformers` loads.

    Raises:
        NonFiniteError: a weight is NaN or infinite.
        SaveError: the directory cannot be written.
    """
    require_finite(model.state_dict().items(), "weight")
    with commit_directory(directory, needed=_bytes(model.parameters())) as aside:
        _write_model(aside, model, tokenizer)


def save_checkpoint(
    directory: Path,
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    optimizer: torch.optim.Optimizer | Mapping[str, Tensor] | None,
    state: TrainState,
    identity: RunFingerprint,
    run_id: str,
    attempt: int = 1,
    milestone: bool = False,
    timed: bool = False,
    scaler: dict[str, int | float] | None = None,
    log_lines: int = 0,
    carried: Mapping[str, Tensor] | None = None,
    random_of_others: Sequence[RandomStates] = (),
) -> None:
    """Write model, tokenizer and counters as one directory, with all that training goes on from.

    Args:
        optimizer: it, or what `optimizer_tensors` made of it; None: the checkpoint is for analysis
            only, without optimizer, generators and carried states.
        carried: the states that rows go on from; None: rows stand alone.
        random_of_others: what `random_states` returned in the processes beside this one.

    Raises:
        NonFiniteError: a weight or a moment is NaN or infinite.
        SaveError: the directory cannot be written.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        optimizer = optimizer_tensors(model, optimizer)
    tensors = optimizer or {}
    states = carried or {} if optimizer is not None else {}
    require_finite(model.state_dict().items(), "weight")
    require_finite(tensors.items(), "moment of the optimizer")
    require_finite(states.items(), "state of the model")
    random_tensors, random_numbers = random_states()
    for process, (tensors_of_other, _) in enumerate(random_of_others, 1):
        random_tensors |= {f"{process}/{name}": t for name, t in tensors_of_other.items()}
    facts = CheckpointState(
        format=STATE_FORMAT,
        run_id=run_id,
        attempt=attempt,
        milestone=milestone,
        timed=timed,
        counters=Counters.model_validate(state),
        identity=identity,
        random=None if optimizer is None else random_numbers,
        random_of_others=[] if optimizer is None else [numbers for _, numbers in random_of_others],
        scaler=scaler,
        log_lines=log_lines,
    )
    needed = _bytes((*model.parameters(), *tensors.values(), *states.values()))
    with commit_directory(directory, needed=needed) as aside:
        _write_model(aside, model, tokenizer)
        failpoint(f"{directory.name}: model and tokenizer written")
        if optimizer is not None:
            save_file(dict(tensors), aside / OPTIMIZER_FILE)
            failpoint(f"{directory.name}: optimizer written")
            save_file(random_tensors, aside / RANDOM_FILE)
        if states:
            save_file(dict(states), aside / CARRIED_FILE)
        write_state(aside, facts)


def keep_only_the_model(directory: Path) -> None:
    """Take from a checkpoint what only a resumption needs.

    Raises:
        CheckpointError: it is none.
        SaveError: it cannot be written anew.
    """
    nothing: dict[str, Any] = {"random": None, "random_of_others": [], "scaler": None}
    facts = read_state(directory).model_copy(update=nothing)
    with commit_directory(directory) as aside:
        left_out = shutil.ignore_patterns(*TO_RESUME, STATE_FILE, MANIFEST)
        shutil.copytree(directory, aside, dirs_exist_ok=True, ignore=left_out)
        write_state(aside, facts)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's tensors under `<parameter name>/<kind>`."""
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{kind}": tensor.detach().contiguous().cpu()
        for parameter, moments in optimizer.state.items()
        for kind, tensor in moments.items()
    }


def load_weights(directory: Path, model: BaseLanguageModel) -> None:
    """Give a model the weights of a checkpoint; what it ties stays tied.

    Raises:
        CheckpointError: they are not the weights of this model.
    """
    try:
        saved = type(model).load_directory(directory).state_dict()
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


def load_optimizer(directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer of a model the tensors of a checkpoint.

    Raises:
        CheckpointError: they are not those of this model.
    """
    path = directory / OPTIMIZER_FILE
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in _load_tensors(path).items():
        name, _, kind = key.rpartition("/")
        if name not in shapes or tensor.shape != (SCALAR if kind == STEP else shapes[name]):
            raise CheckpointError(f"{path}: {key} fits no parameter")
        moments.setdefault(name, {})[kind] = tensor
    if len({frozenset(kinds) for kinds in moments.values()}) > 1:
        raise CheckpointError(f"{path}: some parameters lack a tensor that others have")
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    state = {index: moments[name] for index, name in enumerate(order) if name in moments}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def load_random_states(directory: Path, state: CheckpointState, *, process: int = 0) -> list[str]:
    """Put the global generators into the states of a checkpoint.

    Args:
        process: whose states; the checkpoint must have been written by more processes.

    Returns:
        The devices of this machine for which it has none.

    Raises:
        CheckpointError: the states are none.
    """
    tensors = _load_tensors(directory / RANDOM_FILE)
    try:
        if process == 0:
            return restore_random_states(tensors, state.random or {})
        own = {n.partition("/")[2]: t for n, t in tensors.items() if n.startswith(f"{process}/")}
        return restore_random_states(own, state.random_of_others[process - 1])
    except INVALID_STATES as error:
        raise CheckpointError(f"{directory}: holds no random states ({error})") from error


def load_carried(directory: Path, carried: CarriedState) -> None:
    """Let rows go on from the states of a checkpoint.

    Raises:
        CheckpointError: it has none, or those of other rows or of another model.
    """
    path = directory / CARRIED_FILE
    try:
        carried.restore(_load_tensors(path))
    except ValueError as error:
        raise CheckpointError(f"{path}: does not hold the carried states ({error})") from error


def require_finite(tensors: Iterable[tuple[str, Tensor]], what: str) -> None:
    """Refuse to save what is not a number.

    Raises:
        NonFiniteError: a value is NaN or infinite.
    """
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


def _write_model(
    directory: Path, model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    model.save_pretrained(directory)
    save_tokenizer(tokenizer, directory, positions=model.num_positions)
