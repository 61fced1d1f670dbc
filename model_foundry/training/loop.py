"""The training loop. It trains any `BaseLanguageModel` and knows none.

One *step* is one optimizer update; `step` makes it from what `drawing` hands it, and `rhythm` does
what is due between two of them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import TrainingConfig
from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import Interrupted, NonFiniteError, WorkerError
from model_foundry.foundation.failpoints import failpoint
from model_foundry.foundation.interrupts import blocking_section, stop_requested
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.objectives import Objective
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.hooks import Evaluate, Rhythm, Save
from model_foundry.training.lr_schedule import learning_rate
from model_foundry.training.metrics_log import MetricsLog
from model_foundry.training.nonfinite import NonFiniteGuard
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.profiler.profile import Profile
from model_foundry.training.progress_bar import Display
from model_foundry.training.state import TrainState
from model_foundry.training.step import take_step
from model_foundry.training.step_batches import StepBatches, can_pin


class Loop:
    """Trains a model until `horizon` steps are made.

    Dropout, and nothing else, draws from torch's global generator, which the caller seeds.

    Args:
        batches: micro-batches of this process without end.
        state: where the run stands; it is advanced in place.
        evaluate: measures the model on held-out text; must not touch global random state.
        save: writes a checkpoint, and notes in `state` one that can be resumed from.
        carried: the states that rows go on from; None: rows stand alone.
        micro_batches: how many of them this process has in a step; None:
            `config.gradient_accumulation_steps`.
        processes: all that train the model, in step.
        profile: looks at some of the steps; None: nothing does.

    Attributes:
        model: the bare model, not what Accelerate makes of it; and so `optimizer`. A checkpoint is
            restored into them before the loop runs.
    """

    def __init__(
        self,
        model: BaseLanguageModel,
        batches: Iterator[Batch],
        *,
        objective: Objective,
        config: TrainingConfig,
        horizon: int,
        accelerator: Accelerator,
        state: TrainState,
        evaluate: Evaluate,
        save: Save,
        log: MetricsLog,
        display: Display,
        carried: CarriedState | None = None,
        micro_batches: int | None = None,
        processes: ProcessGroup = ALONE,
        profile: Profile | None = None,
    ) -> None:
        self.objective, self.config, self.horizon = objective, config, horizon
        self.accelerator, self.state = accelerator, state
        self.carried, self.profile = carried, profile
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        if config.compile is True:
            model.compile_for_training()
        self._prepared_model, self._prepared_optimizer = accelerator.prepare(
            model, build_optimizer(model, config)
        )
        self.model: BaseLanguageModel = accelerator.unwrap_model(self._prepared_model)
        self.optimizer: torch.optim.Optimizer = self._prepared_optimizer.optimizer
        alone = config.speed.loss_without_logits and self.model.computes_loss_alone
        self._arguments = {"return_logits": False} if alone else None
        self._finiteness = NonFiniteGuard.of(
            self.optimizer,
            device=accelerator.device,
            scaled=accelerator.scaler is not None,
            processes=processes,
        )
        self._rhythm = Rhythm(
            self.model,
            self.optimizer,
            config,
            horizon=horizon,
            state=state,
            finiteness=self._finiteness,
            evaluate=evaluate,
            save=save,
            log=log,
            display=display,
            processes=processes,
        )
        self._drawing = StepBatches(
            batches,
            objective,
            micro_batches=micro_batches or config.gradient_accumulation_steps,
            workers=config.dataloader_num_workers,
            pinned=can_pin(accelerator.device),
            time_to_save=self._rhythm.time_to_save,
            processes=processes,
        )

    def run(self) -> None:
        """Make the steps that are left.

        Raises:
            NonFiniteError: the loss or the gradient of a step is not finite; the weights are those
                of the step before, and so is the number of steps.
            WorkerError: a process that prepares batches has died; the last step made is saved.
            Interrupted: a signal came; the last step made is saved.
        """
        state, rhythm = self.state, self._rhythm
        with save_on_interrupt(rhythm):
            rhythm.evaluate_if_due()  # a checkpoint precedes the evaluation of its step
            while state.step < self.horizon:
                with blocking_section(f"step {state.step + 1}"), self._seen():
                    self._step()
                rhythm.save_if_due()
                rhythm.evaluate_if_due()
            self._finiteness.require()

    def _step(self) -> None:
        rate = learning_rate(self.state.step, self.config, self.horizon)
        drawn = self._drawing.next()
        result = take_step(
            self._prepared_model,
            self._prepared_optimizer,
            drawn.micro_batches,
            objective=self.objective,
            learning_rate=rate,
            max_grad_norm=self.config.max_grad_norm,
            accelerator=self.accelerator,
            step=self.state.step,
            carried=self.carried,
            labels=drawn.labels,
            finiteness=self._finiteness,
            arguments=self._arguments,
        )
        self._rhythm.advance(drawn)
        failpoint(f"step {self.state.step} made")
        if self.state.step < self.horizon:
            self._drawing.ahead()  # a GPU still computes the step, and nothing has asked for it
        self._rhythm.log_if_due(drawn.micro_batches, result, rate)

    def _seen(self) -> AbstractContextManager[None]:
        return self.profile.step(self.model, self.state) if self.profile else nullcontext()


@contextmanager
def save_on_interrupt(rhythm: Rhythm) -> Iterator[None]:
    """Save the last step made where the block is to stop between two steps."""
    state = rhythm.state
    try:
        try:
            yield
        except (Interrupted, WorkerError) as error:
            rhythm.save_unless_saved()
            if isinstance(error, Interrupted):
                raise Interrupted(_stopped(state)) from error
            raise
    except NonFiniteError as error:
        if "step" in error.facts:  # a GPU has left out the updates from there on
            state.step = error.facts["step"] - 1
        raise


def _stopped(state: TrainState) -> str:
    """Say what has become of a run that a signal stopped."""
    saved = f"saved at step {state.step}" if state.step else "stopped before the first step"
    return f"{stop_requested() or 'a signal to another process'}: {saved}"
