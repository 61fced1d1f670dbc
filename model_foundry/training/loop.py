"""The training loop. It trains any model on any task, and knows none.

One step is one optimizer update: `step_batches` loads it, `step` makes it, and the hooks run
between two of them. `docs/training_loop.md` follows one step from the batch to the log.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from model_foundry.architectures import BaseModel
from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import Interrupted, NonFiniteError, WorkerError
from model_foundry.foundation.failpoints import failpoint
from model_foundry.foundation.interrupts import blocking_section, stop_requested
from model_foundry.objectives import Objective
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.context import RunContext
from model_foundry.training.hooks import FinishedStep, Hook
from model_foundry.training.learner import start_learning
from model_foundry.training.lr_schedule import learning_rate
from model_foundry.training.metrics_log import LogError
from model_foundry.training.milestones import is_milestone
from model_foundry.training.state import TrainState
from model_foundry.training.step_batches import StepBatch, StepBatches, can_pin


class Loop:
    """Trains a model, until `context.total_steps` steps are made or a hook sets a `stop_reason`.

    Dropout, and nothing else, draws from torch's global generator, which the caller seeds.

    Args:
        batches: endless micro-batches of this process.
        hooks: called between two steps, in this order.
        units: what the counts of the batches count.
        carried: states from which rows continue; None: rows are independent.

    Attributes:
        training: the bare model and optimizer, into which a checkpoint is restored before the loop
            runs.
    """

    def __init__(
        self,
        model: BaseModel,
        objective: Objective,
        batches: Iterator[Batch],
        *,
        context: RunContext,
        hooks: Sequence[Hook],
        units: Sequence[str] = (),
        carried: CarriedState | None = None,
    ) -> None:
        config, accelerator = context.config.training, context.accelerator
        self.context, self.hooks = context, hooks
        self._learner, self.training = start_learning(
            model, objective, context=context, carried=carried
        )
        self._batches = StepBatches(
            batches,
            objective,
            micro_batches=context.split.micro_batches,
            units=units,
            workers=config.dataloader_num_workers,
            pinned=can_pin(accelerator.device),
            save_is_due=lambda: any(hook.save_is_due(self.training) for hook in hooks),
            processes=context.processes,
        )
        self._last: FinishedStep | None = None
        self._started = False

    def run(self, until: int | None = None) -> None:
        """Make the remaining steps, in one call or in several.

        Args:
            until: the last step to make now, counted from the beginning of the run; None: the last
                one of all.

        Raises:
            NonFiniteError: the loss or the gradient of a step is not finite; the weights are those
                of the step before, and so is the number of steps.
            WorkerError: a data worker has died; the last step made is saved.
            Interrupted: a signal came; the last step made is saved.
        """
        state, last = self.context.state, self.context.total_steps
        with self._save_on_stop():
            self._start_hooks()
            end = last if until is None else min(until, last)
            while state.step < end and state.stop_reason is None:
                with blocking_section(f"step {state.step + 1}"), self._around_step():
                    self._last = self._make_step()
                for hook in self.hooks:
                    hook.after_step(self.training, self._last)
            self.training.guard.check()
            if state.stop_reason is not None:
                self._stop_hooks()

    def _start_hooks(self) -> None:
        """Start the hooks, before the first step of this attempt only."""
        if not self._started:
            for hook in self.hooks:
                hook.on_start(self.training)
        self._started = True

    def _stop_hooks(self) -> None:
        for hook in self.hooks:
            hook.on_stop(self.training, self._last)

    def _make_step(self) -> FinishedStep:
        context, state = self.context, self.context.state
        rate = learning_rate(
            state.step,
            context.config.training,
            context.total_steps,
            reductions=state.plateau.reductions,
        )
        batch = self._batches.next()
        result = self._learner.take_step(batch, step=state.step, learning_rate=rate)
        milestone = self._count(batch)
        failpoint(f"step {state.step} made")
        if state.step < context.total_steps:
            self._batches.prefetch()  # a GPU still computes the step, and nothing waits for it
        return FinishedStep(batch=batch, result=result, learning_rate=rate, milestone=milestone)

    def _count(self, batch: StepBatch) -> bool:
        """Count a step, all its examples included; return True if it is a milestone."""
        state, before = self.context.state, dict(self.context.state.seen)
        state.count(batch.examples, batch.counts)
        self.training.stopwatch.count(batch.examples, batch.counts)
        spans = {unit: (before.get(unit, 0), number) for unit, number in state.seen.items()}
        return is_milestone(
            self.context.config.training.milestones,
            step=state.step,
            words=spans.get("words", (0, 0)),
            tokens=spans.get("tokens", (0, 0)),
            steps_per_epoch=self.context.steps_per_epoch,
        )

    def _around_step(self) -> ExitStack:
        stack = ExitStack()
        for hook in self.hooks:
            stack.enter_context(hook.around_step(self.training))
        return stack

    @contextmanager
    def _save_on_stop(self) -> Iterator[None]:
        """Save the last step made if the block stops between two steps."""
        state = self.context.state
        try:
            try:
                yield
            except (Interrupted, WorkerError, LogError) as error:
                self._stop_hooks()
                if isinstance(error, Interrupted):
                    raise Interrupted(_stop_message(state)) from error
                raise
        except NonFiniteError as error:
            if "step" in error.facts:  # a GPU has left out the updates from there on
                state.step = error.facts["step"] - 1
            raise


def _stop_message(state: TrainState) -> str:
    reason = stop_requested() or "a signal to another process"
    if not state.step:
        return f"{reason}: stopped before the first step"
    if state.last_good_step != state.step:
        return f"{reason}: stopped after step {state.step}, which is not saved"
    return f"{reason}: saved at step {state.step}"
