"""Learning by counting: one pass over the examples, without gradients."""

from dataclasses import dataclass

import torch

from model_foundry.architectures import CountedModel
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.objectives import Objective
from model_foundry.training.nonfinite import rows_of_all
from model_foundry.training.profiler.phases import phase
from model_foundry.training.step_batches import StepBatch


@dataclass(frozen=True, kw_only=True)
class CountingLearner:
    """A model that counts the batches of each step.

    Every process counts those of all, so all hold the same table at each step.
    """

    model: CountedModel
    passes: int | None = None
    """Passes over the examples, of which a last step is cut to what remains; None: any number."""
    objective: Objective
    device: torch.device
    processes: ProcessGroup

    @torch.no_grad()
    def take_step(self, batch: StepBatch, *, step: int, learning_rate: float) -> None:
        """Count a step."""
        for micro_batch in rows_of_all(batch.micro_batches, self.processes):
            inputs, keys = self.objective.given(micro_batch.inputs), micro_batch.keys
            rows = [
                row for row, (n, _) in enumerate(keys) if self.passes is None or n < self.passes
            ]
            if not rows:  # all after the last pass
                continue
            with phase("forward"):
                self.model.count(**{name: t[rows].to(self.device) for name, t in inputs.items()})
