"""The processes and devices of a run, as Accelerate sees them."""

from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from model_foundry.config import TrainingConfig
from model_foundry.errors import ConfigError


def device_type() -> str:
    """Return the type of the device that a run of this process uses (cpu, cuda, mps)."""
    return str(PartialState().device.type)


def start_accelerator(config: TrainingConfig) -> Accelerator:
    """Return the accelerator of a run.

    Args:
        config: with its precision settled.

    Raises:
        ConfigError: several processes.
    """
    # Accelerate keeps its first precision for the life of the process; a later run may differ.
    AcceleratorState._reset_state(reset_partial_state=False)
    # Accumulation is the loop's: with more than 1 here, `backward` would divide the loss again.
    accelerator = Accelerator(mixed_precision=config.mixed_precision, gradient_accumulation_steps=1)
    if accelerator.num_processes > 1:
        raise ConfigError(
            f"{accelerator.num_processes} processes were started, but a run uses one; "
            "start `foundry train` without a launcher"
        )
    return accelerator
