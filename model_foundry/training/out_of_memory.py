"""Errors about memory that name the batch, what takes the memory, and settings that help.

The system's out-of-memory killer cannot be caught; it leaves `killed` and no message of ours.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from model_foundry.architectures import BaseModel, device_of
from model_foundry.config import OBJECTIVES, ExperimentConfig
from model_foundry.errors import MemoryExhaustedError, is_out_of_memory
from model_foundry.foundation.hardware import peak_resident_bytes
from model_foundry.foundation.messages import size_of_bytes

ASKED = re.compile(r"allocate (\d+) bytes")
STATM = Path("/proc/self/statm")  # pages: virtual, resident, ...
COPIES_WHEN_TRAINED = 4  # weights, gradients and the two moments of AdamW


@contextmanager
def naming_the_batch(
    config: ExperimentConfig,
    model: nn.Module,
    *,
    rows: int,
    when: Callable[[], str],
    trains: bool = True,
) -> Iterator[None]:
    """Turn an out-of-memory error of the block into one that names batch and remedies.

    Args:
        rows: rows of one forward pass.
        when: returns the place in the run, such as 'step 7'.
        trains: true if there are gradients and moments beside the weights.

    Raises:
        MemoryExhaustedError: memory ran out.
    """
    device = device_of(model)
    before = _in_use(device)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        copies = COPIES_WHEN_TRAINED if trains else 1
        weights = sum(parameter.nbytes for parameter in model.parameters())
        asked = int(found[1]) if (found := ASKED.search(str(error))) else 0
        rest = max(0, _in_use(device) - before - (copies - 1) * weights) + asked
        length = _tokens_of_a_row(config)
        size = f"{rows} examples" if length is None else f"{rows} rows x {length} tokens"
        of_model = "weights, gradients and moments" if trains else "weights"
        raise MemoryExhaustedError(
            f"out of memory in {when()}, with {size} in a forward pass: "
            f"the model takes {size_of_bytes(copies * weights)} ({of_model}), "
            f"activations and logits about {size_of_bytes(rest)}; "
            f"{_remedies(config, model, rows, trains=trains)}"
        ) from error


def _remedies(config: ExperimentConfig, model: nn.Module, rows: int, *, trains: bool) -> str:
    """Return three settings that help, the one that changes no result first."""
    training, length = config.training, _tokens_of_a_row(config)
    smaller = "a smaller model"
    if length is not None:
        smaller = f"data.max_sequence_length={max(1, length // 2)}"
    if not trains:
        first = f"training.per_device_eval_batch_size={max(1, rows // 2)} (the same result)"
        return f"set {first}, training.mixed_precision=bf16 or {smaller}"
    fitting = max(n for n in range(1, max(1, rows // 2) + 1) if training.rows_per_step % n == 0)
    passes = training.rows_per_step // fitting
    first = (
        f"training.per_device_train_batch_size={fitting} "
        f"training.gradient_accumulation_steps={passes} (the same global batch)"
    )
    enable = getattr(type(model), "gradient_checkpointing_enable", None)
    offered = enable not in (None, BaseModel.gradient_checkpointing_enable)
    second = (
        "training.gradient_checkpointing=true"
        if offered and not training.gradient_checkpointing
        else "training.mixed_precision=bf16"
    )
    return f"set {first}, {second} or {smaller}"


def _tokens_of_a_row(config: ExperimentConfig) -> int | None:
    """Return the tokens of a row; None: the task reads no token stream."""
    spec = OBJECTIVES[config.training.objective]
    return config.data.max_sequence_length if spec.reads_token_stream else None


def _in_use(device: torch.device) -> int:
    """Return the bytes of tensors on a GPU, or the resident bytes of this process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(STATM.read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # macOS
        return peak_resident_bytes()
