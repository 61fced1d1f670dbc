"""Steps of an experiment on its longest examples, in any number of rows, for their memory.

They are made by the training loop itself, with no hook but that of the average of the weights, and
nothing is written.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from model_foundry.architectures import BaseModel
from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.loaders import Batch
from model_foundry.experiment.limits import trained_examples
from model_foundry.planning.setup import Setup, carried_state
from model_foundry.planning.tensor_trace import TensorTrace
from model_foundry.training.loop import Loop
from model_foundry.training.weight_average import AverageHook


class Trial:
    """A training of one step, made again and again.

    Args:
        model: with random weights, which are trained.
        vocabulary: width of the logits, which are followed apart; None: they are not.

    Attributes:
        rows: rows of the next forward pass.
        operations_per_row: floating-point operations of the products in a step, by row; None: no
            step was made, or there were no products.
        logits: bytes of tensors as wide as the vocabulary at its peak; None: not followed.
    """

    def __init__(self, setup: Setup, model: BaseModel, *, vocabulary: int | None = None) -> None:
        self.prepared, self.device, self.rows = setup.prepared, setup.accelerator.device, 1
        self.examples = trained_examples(setup.config, setup.prepared)
        self.operations_per_row: float | None = None
        self.logits = None if vocabulary is None else 0
        # of one step, after which the loop loads no batch of as many rows ahead
        context = setup.context(_in_two_passes(setup.config), total_steps=1)
        self.accumulates = context.split.micro_batches > 1
        average = setup.average(model)
        self._loop = Loop(
            model,
            self.prepared.objective,
            self._batches(),
            context=context,
            hooks=[] if average is None else [AverageHook(average)],
            units=self.prepared.train.units,
            carried=carried_state(model, context),
        )
        self._wide, self._state = vocabulary, context.state
        self._trace: TensorTrace | None = None

    def peak_of_step(self, rows: int) -> int:
        """Make a step with so many rows in each forward pass; return the most bytes that lived."""
        self.rows = rows
        if self.device.type == "cuda":
            return self._peak_on_gpu()
        if self._trace is None:  # weights of the optimizer's state are followed from its birth
            model = self._loop.training.model
            present = chain(model.parameters(), model.buffers())
            self._trace = TensorTrace(present, wide=self._wide)
        with self._trace as trace:
            trace.restart()
            self._step()
        self._count(trace)
        self.logits = None if self._wide is None else trace.wide_at_peak
        return int(trace.peak)

    def _peak_on_gpu(self) -> int:
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        if self.operations_per_row is None:
            with TensorTrace() as trace:  # counts the products; it would slow down larger steps
                self._step()
            self._count(trace)
        else:
            self._step()
        torch.cuda.synchronize(self.device)
        return int(torch.cuda.max_memory_allocated(self.device))

    def release(self) -> None:
        """Give back what a step that ran out of memory has left."""
        for parameter in self._loop.training.model.parameters():
            parameter.grad = None
        torch.cuda.empty_cache()

    @property
    def optimizer_state(self) -> list[Tensor]:
        """The tensors that the optimizer keeps, after a step."""
        optimizer = self._loop.training.optimizer
        states = () if optimizer is None else optimizer.state.values()
        values = (value for state in states for value in state.values())
        return [value for value in values if isinstance(value, Tensor)]

    def _count(self, trace: TensorTrace) -> None:
        passes = 2 if self.accumulates else 1
        self.operations_per_row = trace.operations / (passes * self.rows) or None

    def _step(self) -> None:
        self._state.step = 0
        self._loop.run()

    def _batches(self) -> Iterator[Batch]:
        examples = self.examples
        lengths = examples.lengths
        order = np.arange(len(examples)) if lengths is None else np.argsort(-lengths)
        while True:
            keys = [(0, int(order[place % len(order)])) for place in range(self.rows)]
            read = examples.read(keys)
            yield Batch(inputs=self.prepared.collate(read), counts=read.counts, keys=keys)


def _in_two_passes(config: ExperimentConfig) -> ExperimentConfig:
    """Return an experiment with at most two forward passes in a step, which takes as much memory
    as with more; not compiled, which takes longer than the steps."""
    changed = config.model_copy(deep=True)
    training = changed.training
    training.gradient_accumulation_steps = min(2, training.gradient_accumulation_steps)
    training.compile = False
    return changed
