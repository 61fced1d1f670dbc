"""Saving and restoring a training: state is gathered from all processes and written by rank 0.

The content of one checkpoint is decided in `training/checkpoint/save_load.py`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from model_foundry.architectures import BaseModel
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import Record, RunDirectory
from model_foundry.foundation.random_state import random_states, seed_generators, seed_of_process
from model_foundry.objectives.processors import Processors
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint.choice import Checkpoint, apply_retention
from model_foundry.training.checkpoint.optimizer_loading import load_optimizer
from model_foundry.training.checkpoint.save_load import (
    ResumeTensors,
    load_average,
    load_carried,
    load_random_states,
    load_weights,
    pack_random_states,
    save_checkpoint,
)
from model_foundry.training.checkpoint.sharded import ReplicatedState
from model_foundry.training.checkpoint.state_file import STATE_FORMAT, CheckpointState, Counters
from model_foundry.training.context import RunContext
from model_foundry.training.hooks import Training
from model_foundry.training.metrics_log import MetricsLog
from model_foundry.training.run_fingerprint import RunFingerprint
from model_foundry.training.weight_average import WeightAverage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpointer:
    """Saves the training of one attempt, and restores it."""

    context: RunContext
    run: RunDirectory
    processors: Processors
    fingerprint: RunFingerprint
    start: ResumePoint
    log: MetricsLog
    record: Record
    """Writes the status of the run; called after each checkpoint."""
    values: Mapping[int, float]
    """The metric by step that decides which checkpoint is the best."""
    greater_is_better: bool
    """True if the largest value is the best."""
    weights: ReplicatedState
    """Gathers weights and optimizer state for saving."""
    carried: CarriedState | None
    """States from which rows continue; None: rows are independent."""
    average: WeightAverage | None
    """The average of the weights; None: there is none."""

    def save(
        self, training: Training, *, resumable: bool, milestone: bool, timed: bool = False
    ) -> None:
        """Gather the state of all processes and write it on rank 0; see `training.hooks.Save`."""
        processes, state = self.context.processes, self.context.state
        model = self.weights.gather_model(training.model)
        optimizer, carried, ranks = None, {}, []
        if resumable:
            if training.optimizer is not None:
                optimizer = self.weights.gather_optimizer(training.model, training.optimizer)
            carried = self.carried.tensors() if self.carried else {}
            ranks = processes.all_gather(random_states())
        metrics = processes.all_gather(training.metrics.state() if training.metrics else {})

        def write() -> None:
            self.run.require_held()
            random, values = pack_random_states(ranks)
            tensors = None
            if resumable:
                state_of_optimizer = None if optimizer is None else optimizer()
                tensors = ResumeTensors(
                    optimizer=state_of_optimizer,
                    random=random,
                    carried=carried,
                    average=self.average.tensors() if self.average else {},
                )
            facts = self._facts(values, metrics, milestone=milestone, timed=timed)
            directory = self.run.checkpoint(state.step)
            save_checkpoint(directory, model, self.processors, facts, tensors)

        processes.on_rank0(write)
        if resumable:
            state.last_good_step = state.step
            processes.on_rank0(self._record_and_clean_up)

    def restore(self, checkpoint: Checkpoint, training: Training) -> None:
        """Load a checkpoint into model, optimizer and random generators.

        Raises:
            CheckpointError: the checkpoint is of another model.
        """

        def load(model: BaseModel, optimizer: torch.optim.Optimizer) -> None:
            load_weights(checkpoint.path, model)
            load_optimizer(checkpoint.path, model, optimizer)

        if training.optimizer is None:
            load_weights(checkpoint.path, training.model)
        else:
            self.weights.restore(load, training.model, training.optimizer)
        if self.carried is not None:
            load_carried(checkpoint.path, self.carried)
        if self.average is not None:
            load_average(checkpoint.path, self.average)
        if training.metrics is not None:
            training.metrics.restore(checkpoint.state.train_metrics, self.context.processes)
        scaler = self.context.accelerator.scaler
        if scaler and checkpoint.state.scaler:
            scaler.load_state_dict(checkpoint.state.scaler)
        # Last: nothing but the next step may draw from them after this.
        for device in self._restore_generators(checkpoint):
            logger.warning("%s has no random state in %s", device, checkpoint.path)

    def _facts(
        self,
        random: list[dict[str, object]],
        metrics: list[dict[str, object]],
        *,
        milestone: bool,
        timed: bool,
    ) -> CheckpointState:
        scaler = self.context.accelerator.scaler
        return CheckpointState(
            format=STATE_FORMAT,
            run_id=self.start.run_id,
            attempt=self.start.attempt,
            milestone=milestone,
            timed=timed,
            counters=Counters.model_validate(self.context.state),
            identity=self.fingerprint,
            random=random[0] if random else None,
            random_of_others=random[1:],
            scaler=scaler.state_dict() if scaler else None,
            train_metrics=metrics if any(metrics) else [],
            log_lines=self.log.lines_before(self.context.state.step),
        )

    def _record_and_clean_up(self) -> None:
        """Record the checkpoint in the status, and delete those that are not needed any more."""
        self.record()
        training = self.context.config.training
        apply_retention(
            self.run.checkpoints,
            run_id=self.start.run_id,
            limit=training.save_total_limit,
            values=self.values,
            greater_is_better=self.greater_is_better,
            lean_milestones=training.milestones.save_only_model,
        )

    def _restore_generators(self, checkpoint: Checkpoint) -> list[str]:
        """Restore the generators of this process; return the devices without a state."""
        rank, state = self.context.processes.rank, checkpoint.state
        if rank <= len(state.random_of_others):
            return load_random_states(checkpoint.path, state, rank=rank)
        seed = self.context.config.seeds.dropout  # fewer processes wrote it
        seed_generators(seed_of_process(seed, rank, step=checkpoint.step))
        return []
