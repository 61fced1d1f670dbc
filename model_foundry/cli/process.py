"""Settings of the whole process, set by the command line only: memory, threads, TF32.

Neither importing this package nor calling `train` from Python changes any of them.
"""

import ctypes
import logging
import os
import sys

from model_foundry.config import SpeedConfig
from model_foundry.foundation.hardware import usable_cores

logger = logging.getLogger(__name__)

# Parameters of mallopt(3) in glibc, which takes an int.
FAST_BLOCKS, TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = 1, -1, -2, -4
NEVER, HEAP_STEP = -1, 2**28
THREADS = "OMP_NUM_THREADS"


def set_up_process(speed: SpeedConfig) -> None:
    """Set up this process for training; call it before the first tensor is made."""
    if speed.keep_freed_memory and not keep_freed_memory():
        logger.debug("freed memory is returned to the system: this C library cannot keep it")
    set_threads(speed.threads)


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory; return True if it does.

    glibc returns large blocks to the system, and each step gets them back through page faults: ten
    times slower than mapped memory. Environment variables (`MALLOC_...`) take precedence.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl, macOS
        return False
    wanted = (
        # glibc merges freed small blocks only when a large one is asked for, or a heap is full. In
        # the heap of a worker thread neither happens, with the pad below: backward passes of
        # attention left 192 bytes there each (plans/0020-memory-of-long-runs.md).
        (FAST_BLOCKS, 0),  # M_MXFAST: bytes up to which freed blocks are not merged
        (MMAP_MAX, 0),
        (TRIM_THRESHOLD, NEVER),
        (TOP_PAD, HEAP_STEP),
    )
    answers = [mallopt(parameter, value) for parameter, value in wanted]  # 1: it does
    return answers == [1] * len(wanted)


def set_threads(asked: int | None) -> None:
    """Set the number of threads of matrix products.

    Args:
        asked: the number; None: `OMP_NUM_THREADS` if set, else the physical cores that this process
            may use, divided by the processes that a launcher started on this machine.
    """
    if asked is None:
        if THREADS in os.environ:
            return
        asked = max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    os.environ[THREADS] = str(asked)  # read when torch is imported, also by child processes
    if torch := sys.modules.get("torch"):  # a plugin has imported it
        torch.set_num_threads(asked)


def allow_tf32(speed: SpeedConfig) -> None:
    """Allow TF32 (fp32 factors rounded to 10 bits) on NVIDIA GPUs, unless settings forbid it."""
    import torch

    if speed.fp32_products in {"auto", "tf32"} and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
