"""State of the global random generators, and the environment that results depend on.

The generators are the global ones of Python, NumPy and torch. Reading and masking data uses its
own.
"""

import platform
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from operator import index
from typing import Any

import numpy as np
import torch

from model_foundry.errors import ConfigError

RandomStates = tuple[dict[str, torch.Tensor], dict[str, Any]]
LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "model-foundry")
# Exceptions of the three libraries for an invalid state.
INVALID_STATES = (LookupError, ArithmeticError, TypeError, ValueError, RuntimeError)


def random_states() -> RandomStates:
    """Return the states of all global generators: tensors (CPU and CUDA devices), and JSON data."""
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    numbers = {
        "python": list(random.getstate()),
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss],
    }
    return tensors, numbers


def restore_random_states(
    tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any]
) -> list[str]:
    """Restore the states of `random_states`; return the devices of this machine without one.

    Raises:
        One of `INVALID_STATES`.
    """
    torch.set_rng_state(tensors["cpu"])
    devices = [f"cuda.{i}" for i in range(torch.cuda.device_count())]
    for number, name in enumerate(devices):
        if name in tensors:
            torch.cuda.set_rng_state(tensors[name], number)
    generation, internal, gauss = numbers["python"]
    random.setstate((generation, tuple(internal), gauss))
    kind, keys, *rest = numbers["numpy"]
    np.random.set_state((kind, np.array([*map(index, keys)], np.uint32), *rest))
    return [name for name in devices if name not in tensors]


def seed_generators(seed: int) -> None:
    """Seed every global generator.

    Raises:
        ConfigError: the seed has more than 64 bits.
    """
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed: must be >= 0 and < 2**64, got {seed}; take a smaller one")
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def seed_of_process(seed: int, process: int, *, step: int = 0) -> int:
    """Return the seed of one of several processes, different for each.

    Args:
        process: rank of the process; rank 0 gets `seed` itself at step 0.
        step: step at which the process starts.
    """
    if process == 0 and step == 0:
        return seed
    (derived,) = np.random.SeedSequence((seed, process, step)).generate_state(1, np.uint64)
    return int(derived)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for the block, then restore their states."""
    before = random_states()
    seed_generators(seed)
    try:
        yield
    finally:
        restore_random_states(*before)


def environment(device: torch.device) -> dict[str, str]:
    """Return the versions and hardware that the last bits of a result depend on."""
    processor = torch.backends.cpu.get_cpu_capability()
    name = f"{platform.machine()} {processor}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "device": f"{device.type} ({name})",
        "threads": str(torch.get_num_threads()),
    }
