"""Environment variables through which libraries would change what is trained.

An experiment contains everything that its result depends on. A variable that would change it is
removed from the environment for the run and reported; one that a library has already read is
refused. Nothing here imports torch, so that a command can remove them before it does.
"""

import fnmatch
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from model_foundry.errors import ConfigError

logger = logging.getLogger(__name__)

READ_LATE: Final = (
    # Accelerate: accumulation, precision, device, compilation, sharding, other engines
    *("ACCELERATE_*", "FSDP_*", "MEGATRON_LM_*", "PARALLELISM_CONFIG_*", "FP8_*", "FORK_LAUNCHED"),
    *("XLA_USE_BF16", "XLA_DOWNCAST_BF16"),
)
"""Patterns of variables that are read when a run starts."""
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
"""Patterns of variables that torch, transformers and the libraries below them read on import."""
OF_THREADS: Final = (
    *("MKL_NUM_THREADS", "MKL_DOMAIN_NUM_THREADS", "MKL_DYNAMIC", "MKL_NUM_STRIPES"),
    *("OMP_DYNAMIC", "OMP_THREAD_LIMIT"),
)
"""Variables that compete with `OMP_NUM_THREADS` and `training.speed.threads`. A command removes
them; a Python program chooses its own threads, and the run fingerprint records them."""
HARMLESS: Final = (
    *("ACCELERATE_DEBUG_MODE", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_ENABLE_RICH"),
    *("DNNL_VERBOSE*", "ONEDNN_VERBOSE*", "DNNL_JIT_*", "ONEDNN_JIT_*"),
    *("DNNL_PRIMITIVE_CACHE_*", "ONEDNN_PRIMITIVE_CACHE_*"),
    *("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS", "TORCHINDUCTOR_FX_GRAPH_CACHE"),
    *("TORCHINDUCTOR_WORKER_START", "TORCH_COMPILE_DEBUG*", "TORCHDYNAMO_VERBOSE"),
    *("TORCH_CUDNN_V8_API_DEBUG", "PYTORCH_MPS_HIGH_WATERMARK_RATIO"),
    "PYTORCH_MPS_LOW_WATERMARK_RATIO",
)
"""Patterns of exceptions to those above: they print, dump, cache or place only."""
LAUNCH: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Variables that a launcher sets in each process; all of them together mean a launch."""
OF_A_LAUNCH: Final = (*LAUNCH, "MASTER_ADDR", "MASTER_PORT")
OF_MPI: Final = (
    *("PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_*", "MV2_COMM_WORLD_*", "MPI_LOCAL*"),
    "SMDATAPARALLEL_LOCAL_RANK",
)
"""Variables of MPI, which Accelerate prefers to those of torchrun."""

_removed: set[str] = set()


def launched() -> bool:
    """Return True if a launcher has started this process, possibly as one of several."""
    return all(name in os.environ for name in LAUNCH)


def check_launch() -> None:
    """Raise a `ConfigError` if the variables of a launch contradict each other."""
    if not launched():
        return
    remedy = "start with torchrun, or unset " + ", ".join(OF_A_LAUNCH)
    rank, world, local, here = (_count(name, remedy) for name in LAUNCH)
    if not rank < world or not local < here <= world:
        values = ", ".join(f"{name}={os.environ[name]}" for name in LAUNCH)
        raise ConfigError(f"environment: {values} contradict each other; {remedy}")
    missing = [name for name in OF_A_LAUNCH if not os.environ.get(name)]
    if missing:
        names = " and ".join(missing)
        raise ConfigError(f"environment: {names} must be set where RANK is; {remedy}")


def _count(name: str, remedy: str) -> int:
    text = os.environ[name]
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"environment: {name} must be a number >= 0, got {text!r}; {remedy}")
    return int(text)


def remove_variables() -> None:
    """Remove all variables that would change a result from the environment of this process.

    A command calls it before it imports torch; `without_variables` reports the removed names.
    """
    patterns = _read_at_start()
    if "torch" not in sys.modules:
        patterns = (*patterns, *READ_WITH_TORCH, *OF_THREADS)
    for name in _matching(patterns):
        del os.environ[name]
        _removed.add(name)


@contextmanager
def without_variables() -> Iterator[None]:
    """Remove variables that would change a result during the block, and report them.

    Raises:
        ConfigError: torch has already read such a variable.
    """
    if read := _matching(READ_WITH_TORCH):
        raise ConfigError(
            f"environment: {', '.join(read)} would change what is trained, and torch is imported "
            "already; unset it before Python starts"
        )
    before = {name: os.environ.pop(name) for name in _matching(_read_at_start())}
    if names := sorted(_removed | before.keys()):
        logger.warning(
            "environment: %s would change what is trained, but is not part of the experiment; "
            "ignored in this run",
            ", ".join(names),
        )
    _removed.clear()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.setdefault(name, value)


def _read_at_start() -> tuple[str, ...]:
    return (*READ_LATE, *OF_MPI) if launched() else (*READ_LATE, *OF_MPI, *LAUNCH)


def _matching(patterns: tuple[str, ...]) -> list[str]:
    """Return the sorted names of variables that match a pattern, but none of `HARMLESS`."""
    return sorted(
        name
        for name in os.environ
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in HARMLESS)
    )
