"""An experiment whose data are read, ready to make models of it."""

from dataclasses import dataclass

from accelerate import Accelerator
from torch.nn import Parameter

from model_foundry.architectures import BaseModel
from model_foundry.config import ExperimentConfig
from model_foundry.model import create_model
from model_foundry.objectives import Prepared
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.context import RunContext
from model_foundry.training.learner import learns_by_counting
from model_foundry.training.state import TrainState
from model_foundry.training.weight_average import WeightAverage

ENDLESS = 10**9  # steps


@dataclass(frozen=True)
class Setup:
    """An experiment with its settings resolved, and all that its training reads."""

    config: ExperimentConfig
    prepared: Prepared
    accelerator: Accelerator

    def new_model(self) -> BaseModel:
        """Return a model with random weights; where it is depends on torch's default device.

        Raises:
            MemoryExhaustedError: it does not fit into the memory.
        """
        arguments = self.prepared.objective.model_arguments(self.prepared.processors)
        return create_model(self.config, **arguments)

    def averaged_weights(self, model: BaseModel) -> list[Parameter]:
        """Return the weights of a model that a run averages; []: it keeps no average."""
        if self.config.training.ema_decay is None or learns_by_counting(self.config):
            return []
        return [weight for weight in model.parameters() if weight.requires_grad]

    def average(self, model: BaseModel) -> WeightAverage | None:
        """Return the average of a model's weights, to be started; None: a run keeps none."""
        decay = self.config.training.ema_decay
        if decay is None or not self.averaged_weights(model):
            return None
        return WeightAverage(model, decay)

    def context(
        self, config: ExperimentConfig | None = None, *, total_steps: int = ENDLESS
    ) -> RunContext:
        """Return what the parts of a training share.

        Args:
            config: with other settings of the machine; None: those of the experiment.
        """
        return RunContext(
            config=config or self.config,
            total_steps=total_steps,
            state=TrainState(),
            accelerator=self.accelerator,
        )


def carried_state(model: BaseModel, context: RunContext) -> CarriedState | None:
    """Return the states from which rows continue; None: rows are independent."""
    if not context.config.training.carry_state:
        return None
    split = context.split
    return CarriedState(model, micro_batches=split.micro_batches, rows=split.micro_batch)
