"""The processes and devices of a run, and the part of the global batch that each one reads.

`torchrun` starts the processes and passes their ranks in the environment; Accelerate uses the
process group that is initialised here.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState

from model_foundry.config import TrainingConfig
from model_foundry.data.batches.order import BatchSplit
from model_foundry.errors import ConfigError, WorkerError
from model_foundry.foundation.environment_variables import check_launch, launched
from model_foundry.foundation.process_group import ALONE, ProcessGroup

RANK0_TIMEOUT = timedelta(days=7)  # rank 0 may tokenize for hours while the others wait


def device_type(config: TrainingConfig) -> str:
    """Return the device type of this process (cpu, cuda, mps)."""
    if config.use_cpu:
        return "cpu"
    if launched():  # asking Accelerate would join the processes
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(PartialState().device.type)


# --- the processes --------------------------------------------------------------------------------


@contextmanager
def joined(config: TrainingConfig) -> Iterator[ProcessGroup]:
    """Join the processes that a launcher started, for the length of the block.

    Only rank 0 logs. The block succeeds on all ranks or on none.

    Raises:
        ConfigError: this machine cannot run that many processes.
        WorkerError: another process is gone or hangs.
    """
    check_launch()
    require_strategy(config)
    if not launched():
        yield ALONE
        return
    device, limit = _device(config), timedelta(minutes=config.distributed.timeout_minutes)
    with lost_peer_as_worker_error(lambda: "its start or end", limit), _leaving():
        processes = _join(device, limit)
        with errors_only(not processes.is_rank0):
            yield processes
            processes.on_all_ranks(lambda: None)  # the first to leave would break the connections


def _device(config: TrainingConfig) -> torch.device:
    if config.use_cpu or not torch.cuda.is_available():
        return torch.device("cpu")
    started, found = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if started > found:
        raise ConfigError(
            f"--nproc_per_node (={started}) starts more processes on a machine than it has GPUs "
            f"({found}); start at most one for each"
        )
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def _join(device: torch.device, limit: timedelta) -> ProcessGroup:
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # gloo beside it: with `cpu_offload`, weights are exchanged from the memory of the host
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=limit, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=limit)
    return ProcessGroup(
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
        group=dist.new_group(backend="gloo", timeout=RANK0_TIMEOUT),
        prompt=dist.new_group(backend="gloo", timeout=limit),
    )


@contextmanager
def _leaving() -> Iterator[None]:
    """Leave the process group at the end of the block."""
    broken = False
    try:
        yield
    except (RuntimeError, WorkerError):
        broken = True
        raise
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)  # another run may be alone
        # NCCL would wait for the process that is lost
        if dist.is_initialized() and not (broken and torch.cuda.is_available()):
            dist.destroy_process_group()


@contextmanager
def errors_only(active: bool = True) -> Iterator[None]:
    """Log errors of the package only, for the length of the block."""
    logger = logging.getLogger("model_foundry")
    before = logger.level
    if active:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def lost_peer_as_worker_error(
    when: Callable[[], str], limit: timedelta, on_disk: Callable[[], str] | None = None
) -> Iterator[None]:
    """Turn torch's errors about a lost process into a `WorkerError`.

    Args:
        when: returns the place in the run, such as 'step 7'.
        limit: time that a process waits for the others.
        on_disk: returns the last checkpoint, as text; None: the block trains nothing.

    Raises:
        WorkerError: another process has died or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if not (isinstance(error, dist.DistError) or "gloo" in said or "NCCL" in said):
            raise
        minutes = f"{limit.total_seconds() / 60:.0f}"
        law = (
            f"has not answered for training.distributed.timeout_minutes (={minutes})"
            if "imed out" in said or "imeout" in said
            else "is gone"
        )
        raise WorkerError(
            f"another process of the run {law}, as {when()} showed; run the same command again"
            + (f" ({on_disk()})" if on_disk else "")
        ) from error


# --- the global batch -----------------------------------------------------------------------------


def why_indivisible(rows_per_step: int, *, most: int, world_size: int) -> str | None:
    """Return the reason why a step cannot be divided evenly among processes; None: it can."""
    if rows_per_step % world_size == 0:
        return None
    fitting = [n for n in range(1, rows_per_step + 1) if rows_per_step % n == 0]
    fewer = max(n for n in fitting if n < world_size)
    more = next((f" or {n}" for n in fitting if n > world_size), "")
    return (
        f"training.per_device_train_batch_size (={most}) x training.gradient_accumulation_steps "
        f"(={rows_per_step // most}) are {rows_per_step} rows a step, for any number of "
        f"processes, and {world_size} processes cannot divide them evenly; start {fewer}{more}"
    )


def split_global_batch(
    rows_per_step: int, *, most: int, rank: int = 0, world_size: int = 1
) -> BatchSplit:
    """Divide a step among processes, with as few forward passes as possible.

    Args:
        most: rows that fit into one forward pass on one device.

    Raises:
        ConfigError: the rows cannot be divided evenly.
    """
    if reason := why_indivisible(rows_per_step, most=most, world_size=world_size):
        raise ConfigError(f"{reason}, or change the settings")
    rows = rows_per_step // world_size
    passes = next(n for n in range(-(-rows // most), rows + 1) if rows % n == 0)
    return BatchSplit(
        micro_batch=rows // passes, rows_per_step=rows_per_step, rank=rank, world_size=world_size
    )


# --- Accelerate -----------------------------------------------------------------------------------


def require_strategy(config: TrainingConfig) -> None:
    """Raise a `ConfigError` for fsdp2 on a CPU or without a launcher."""
    field = "training.distributed.strategy (=fsdp2)"
    if config.distributed.strategy != "fsdp2":
        return
    if device_type(config) != "cuda":
        there = "training.use_cpu leaves them out" if config.use_cpu else "there is none here"
        raise ConfigError(f"{field} shards a model among GPUs, and {there}; use ddp")
    if not launched():
        raise ConfigError(
            f"{field} needs a process for each GPU; start them with torchrun, or use ddp"
        )


def start_accelerator(config: TrainingConfig, processes: ProcessGroup = ALONE) -> Accelerator:
    """Return the accelerator of a run.

    Args:
        config: settings whose precision is resolved.
        processes: the processes that were joined.

    Raises:
        ConfigError: a launcher started several processes for a command that uses one.
    """
    if processes.group is None and launched() and int(os.environ["WORLD_SIZE"]) > 1:
        raise ConfigError(
            f"{os.environ['WORLD_SIZE']} processes were started for a command that uses one; only "
            "`foundry train` uses more, so start this one without a launcher"
        )
    # Accelerate keeps its first precision for the life of the process; a later run may differ.
    # It keeps the device too, which belongs to the processes where there are several.
    AcceleratorState._reset_state(reset_partial_state=not launched())
    return Accelerator(
        # on CPUs with a launcher, Accelerate would otherwise overlook the processes
        cpu=config.use_cpu or (launched() and device_type(config) == "cpu"),
        mixed_precision=config.mixed_precision,
        # Accumulation is the loop's: with more than 1 here, `backward` would divide the loss again.
        gradient_accumulation_steps=1,
        fsdp_plugin=_fsdp_plugin(config) if config.distributed.strategy == "fsdp2" else None,
        # gradients need no second copy for their exchange
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )


def _fsdp_plugin(config: TrainingConfig) -> FullyShardedDataParallelPlugin:
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=config.distributed.reshard_after_forward,
        cpu_offload=config.distributed.cpu_offload,
        auto_wrap_policy="transformer_based_wrap",
        state_dict_type="FULL_STATE_DICT",
    )


def name_layers(accelerator: Accelerator, model: torch.nn.Module) -> None:
    """Name the layers of a model that fsdp2 gathers one at a time.

    Models of transformers list their classes; without a list, all layers are gathered at once.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    present = {type(module).__name__ for module in model.modules()}
    named = {n for m in model.modules() for n in getattr(m, "_no_split_modules", None) or ()}
    plugin.transformer_cls_names_to_wrap = sorted(named & present)
