"""The state that a recurrent model carries from one step to the next.

With it, training on streams is truncated backpropagation through time (Williams and Peng 1990): a
row continues from the final state of the row before it, and no gradient flows back into that row.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures import BaseModel, ModelOutput, device_of
from model_foundry.data.batches.loaders import Batch
from model_foundry.foundation.process_group import ALONE, ProcessGroup


class CarriedState:
    """The states of the rows of this process, one slot for each micro-batch of a step.

    Args:
        model: the bare model, not Accelerate's wrapper.
        micro_batches: micro-batches of this process in a step.
        rows: rows in each micro-batch.
        processes: all processes; each has the states of its own lanes.

    Raises:
        ConfigError: the architecture has no state to carry.
    """

    def __init__(
        self,
        model: BaseModel,
        *,
        micro_batches: int,
        rows: int,
        processes: ProcessGroup = ALONE,
    ) -> None:
        model.require_carried_state()
        self.model, self.rows, self.processes = model, rows, processes
        self._slots: list[dict[str, Tensor]] = [{} for _ in range(micro_batches)]

    def arguments(self, slot: int, batch: Batch) -> dict[str, Any]:
        """Return the arguments of the model beside the inputs of a batch."""
        if batch.begins:
            return {"use_cache": True}
        past = self.model.state_from(self._slots[slot])
        return {"use_cache": True, "past_key_values": past}

    def keep(self, slot: int, output: ModelOutput) -> None:
        """Keep the state after a batch for the next batch of the slot."""
        self._slots[slot] = self.model.state_tensors(output.past_key_values)

    def tensors(self) -> dict[str, Tensor]:
        """Return the states of all processes, (rows, ...) each, in the order of the lanes.

        All processes call this at the same time.
        """
        own = {
            name: torch.cat([slot[name] for slot in self._slots]).cpu() for name in self._slots[0]
        }
        shares = self.processes.all_gather(own)
        return {name: torch.cat([share[name] for share in shares]) for name in own}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the states of the rows of this process.

        Args:
            tensors: states of all processes, however many there were.

        Raises:
            ValueError: the states are of another model or another number of rows.
        """
        own = self.rows * len(self._slots)
        number, first = own * self.processes.world_size, own * self.processes.rank
        self.model.state_from(tensors)
        found = {len(tensor) for tensor in tensors.values()}
        if found != {number}:
            raise ValueError(f"it has the states of {sorted(found)} rows instead of {number}")
        device = device_of(self.model)
        mine = {name: tensor[first : first + own].to(device) for name, tensor in tensors.items()}
        cut = {name: torch.split(tensor, self.rows) for name, tensor in mine.items()}
        slots = range(len(self._slots))
        self._slots = [{name: parts[slot] for name, parts in cut.items()} for slot in slots]
