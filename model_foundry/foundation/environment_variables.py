"""Variables of the environment that libraries obey, and with which they change what is trained.

An experiment names everything that its result depends on. A variable that changes it besides is
taken out of the environment for the length of a run, and named; one that a library has read by then
is refused. Nothing here imports torch, so that a command can take them out before it does.
"""

import fnmatch
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from model_foundry.errors import ConfigError

logger = logging.getLogger(__name__)

READ_LATE: Final = (
    # Accelerate: accumulation, precision, device, compilation, sharding, other engines
    *("ACCELERATE_*", "FSDP_*", "MEGATRON_LM_*", "PARALLELISM_CONFIG_*", "FP8_*", "FORK_LAUNCHED"),
    *("XLA_USE_BF16", "XLA_DOWNCAST_BF16"),
)
"""Patterns of what is read when a run begins."""
READ_WITH_TORCH: Final = (
    "ATEN_CPU_CAPABILITY",  # the instructions of the kernels
    *("DNNL_*", "ONEDNN_*", "TORCH_MKLDNN_*", "TORCH_LINEAR_FLATTEN_3D", "USE_NNPACK"),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "MKL_DISABLE_FAST_MM"),
    *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "DISABLE_ADDMM_CUDA_LT"),
    *("TORCH_BLAS_*", "TORCH_LINALG_*", "TORCH_CUDNN_*", "TORCH_ROCM_*", "PYTORCH_MIOPEN_*"),
    *("CUBLASLT_WORKSPACE_SIZE", "PYTORCH_TUNABLEOP_*", "PYTORCH_MPS_*", "PYTORCH_SKIP_CUDNN_*"),
    *("PYTORCH_JIT", "PYTORCH_JIT_OPT_LIMIT", "PYTORCH_TENSOREXPR*", "TRITON_INTERPRET"),
    *("TORCHINDUCTOR_*", "TORCHDYNAMO_*", "TORCH_COMPILE_*", "TORCH_DYNAMO_*", "AOT_INDUCTOR_*"),
    *("TRANSFORMERS_SDPA_*", "TRANSFORMERS_DISABLE_*", "USE_HUB_KERNELS", "USE_TORCH_XLA"),
    *("FLASH_ATTENTION_DETERMINISTIC", "TORCH_DEVICE_BACKEND_AUTOLOAD"),
)
"""Patterns of what torch, transformers and the libraries below them may have read already."""
OF_THREADS: Final = (
    *("MKL_NUM_THREADS", "MKL_DOMAIN_NUM_THREADS", "MKL_DYNAMIC", "MKL_NUM_STRIPES"),
    *("OMP_DYNAMIC", "OMP_THREAD_LIMIT"),
)
"""What competes with `OMP_NUM_THREADS` and `training.speed.threads`. A command takes them out; in a
process of someone else's the threads are its own affair, and are part of the run's identity."""
HARMLESS: Final = (
    *("ACCELERATE_DEBUG_MODE", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_ENABLE_RICH"),
    *("DNNL_VERBOSE*", "ONEDNN_VERBOSE*", "DNNL_JIT_*", "ONEDNN_JIT_*"),
    *("DNNL_PRIMITIVE_CACHE_*", "ONEDNN_PRIMITIVE_CACHE_*"),
    *("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS", "TORCHINDUCTOR_FX_GRAPH_CACHE"),
    *("TORCHINDUCTOR_WORKER_START", "TORCH_COMPILE_DEBUG*", "TORCHDYNAMO_VERBOSE"),
    *("TORCH_CUDNN_V8_API_DEBUG", "PYTORCH_MPS_HIGH_WATERMARK_RATIO"),
    "PYTORCH_MPS_LOW_WATERMARK_RATIO",
)
"""Patterns of what shows, dumps, caches or places only, whatever it matches above."""
LAUNCH: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""What a launcher tells each of its processes; together they mean a launch."""
OF_A_LAUNCH: Final = (*LAUNCH, "MASTER_ADDR", "MASTER_PORT")
OF_MPI: Final = (
    *("PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_*", "MV2_COMM_WORLD_*", "MPI_LOCAL*"),
    "SMDATAPARALLEL_LOCAL_RANK",
)
"""What MPI tells; Accelerate obeys it before it obeys torchrun."""

_taken_out: set[str] = set()


def launched() -> bool:
    """Tell whether a launcher has started this process, maybe as one of several."""
    return all(name in os.environ for name in LAUNCH)


def require_launch() -> None:
    """Refuse what a launcher cannot have said, such as a rank beyond the number of processes.

    Raises:
        ConfigError: the variables of a launch contradict each other.
    """
    if not launched():
        return
    remedy = "start with torchrun, or unset " + ", ".join(OF_A_LAUNCH)
    rank, world, local, here = (_count(name, remedy) for name in LAUNCH)
    if not rank < world or not local < here <= world:
        said = ", ".join(f"{name}={os.environ[name]}" for name in LAUNCH)
        raise ConfigError(f"environment: {said} contradict each other; {remedy}")
    missing = [name for name in OF_A_LAUNCH if not os.environ.get(name)]
    if missing:
        names = " and ".join(missing)
        raise ConfigError(f"environment: {names} must be set where RANK is; {remedy}")


def _count(name: str, remedy: str) -> int:
    text = os.environ[name]
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"environment: {name} must be a number >= 0, got {text!r}; {remedy}")
    return int(text)


def take_out() -> None:
    """Take out of the environment of this process, for good, what would change a result.

    A command calls it before it imports torch; `overruled` names what it took.
    """
    patterns = _unnamed() if _imported() else (*_unnamed(), *READ_WITH_TORCH, *OF_THREADS)
    for name in _matching(os.environ, patterns):
        del os.environ[name]
        _taken_out.add(name)


@contextmanager
def overruled() -> Iterator[None]:
    """Take out what would change a result for the length of the block, and name it.

    Raises:
        ConfigError: torch has read a variable that would.
    """
    if read := _matching(os.environ, READ_WITH_TORCH):
        raise ConfigError(
            f"environment: {', '.join(read)} would change what is trained, and torch is imported "
            "already; unset it before Python starts"
        )
    before = {name: os.environ.pop(name) for name in _matching(os.environ, _unnamed())}
    if names := sorted(_taken_out | before.keys()):
        logger.warning(
            "environment: %s would change what is trained, and the experiment does not name it; "
            "taken out for this run",
            ", ".join(names),
        )
    _taken_out.clear()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.setdefault(name, value)


def _imported() -> bool:
    return "torch" in sys.modules


def _unnamed() -> tuple[str, ...]:
    return (*READ_LATE, *OF_MPI) if launched() else (*READ_LATE, *OF_MPI, *LAUNCH)


def _matching(environment: Mapping[str, str], patterns: Iterable[str]) -> list[str]:
    """Return the names that match a pattern, in their order; those of `HARMLESS` do not."""
    patterns = tuple(patterns)
    return sorted(
        name
        for name in environment
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in HARMLESS)
    )
