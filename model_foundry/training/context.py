"""`RunContext`: what every part of one training shares."""

from dataclasses import dataclass
from functools import cached_property

from accelerate import Accelerator

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.order import BatchSplit
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.training.distributed import split_global_batch
from model_foundry.training.state import TrainState


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The settings, counters and processes of one training; only the counters change."""

    config: ExperimentConfig
    total_steps: int
    """Optimizer steps of the whole run."""
    min_steps: int = 0
    """Optimizer steps before which nothing but a signal ends the run early."""
    state: TrainState
    """Counters of the run, advanced in place by the loop."""
    accelerator: Accelerator
    steps_per_epoch: int = 1
    """Optimizer steps in which each example is seen once at least."""
    processes: ProcessGroup = ALONE
    """All processes that train the model, in step."""

    @property
    def may_stop(self) -> bool:
        """True if the run may end after the present step, although there are steps left."""
        return self.state.step >= self.min_steps

    @cached_property
    def split(self) -> BatchSplit:
        """The part of each global batch that this process reads.

        Raises:
            ConfigError: the global batch cannot be divided evenly.
        """
        training = self.config.training
        return split_global_batch(
            training.rows_per_step,
            most=training.per_device_train_batch_size,
            rank=self.processes.rank,
            world_size=self.processes.world_size,
        )
