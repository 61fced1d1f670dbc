"""The start of learning: a model with its optimizer, or one that counts."""

from typing import Protocol, cast

from model_foundry.architectures import BaseModel, CountedModel
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.objectives import Objective
from model_foundry.objectives.measure import Metrics
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.context import RunContext
from model_foundry.training.counting import CountingLearner
from model_foundry.training.hooks import Training
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.step import Learner
from model_foundry.training.step_batches import StepBatch


class TakesSteps(Protocol):
    """A model that learns step by step."""

    def take_step(self, batch: StepBatch, *, step: int, learning_rate: float) -> StepResult | None:
        """Learn from the batches of a step; None: there is no loss."""


def learns_by_counting(config: ExperimentConfig) -> bool:
    """Return True if the model of an experiment learns by counting."""
    return ARCHITECTURES[config.model.architecture].trained_by == "counting"


def counts(context: RunContext) -> bool:
    """Return True if the model of a run learns by counting."""
    return learns_by_counting(context.config)


def start_learning(
    model: BaseModel,
    objective: Objective,
    *,
    context: RunContext,
    carried: CarriedState | None = None,
) -> tuple[TakesSteps, Training]:
    """Prepare a model for training.

    Args:
        carried: states from which rows continue; None: rows are independent.
    """
    if counts(context):
        return _start_counting(model, objective, context)
    config, accelerator = context.config.training, context.accelerator
    metrics = Metrics(objective, config.train_metrics) if config.train_metrics else None
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if config.compile is True:
        model.compile_for_training()
    prepared, optimizer = accelerator.prepare(model, build_optimizer(model, config))
    guard = NonFiniteGuard.of(
        optimizer.optimizer,
        device=accelerator.device,
        scaled=accelerator.scaler is not None,
        processes=context.processes,
    )
    needs_logits = objective.needs_logits or (metrics is not None and metrics.needs_logits)
    alone = config.speed.loss_without_logits and model.computes_loss_alone and not needs_logits
    learner = Learner(
        model=prepared,
        optimizer=optimizer,
        objective=objective,
        accelerator=accelerator,
        guard=guard,
        metrics=metrics,
        max_grad_norm=config.max_grad_norm,
        max_grad_value=config.max_grad_value,
        carried=carried,
        arguments={"return_logits": False} if alone else {},
    )
    bare = accelerator.unwrap_model(prepared)
    return learner, Training(
        context=context, model=bare, optimizer=optimizer.optimizer, guard=guard, metrics=metrics
    )


def _start_counting(
    model: BaseModel, objective: Objective, context: RunContext
) -> tuple[TakesSteps, Training]:
    model = cast(CountedModel, model).to(context.accelerator.device)
    learner = CountingLearner(
        model=model,
        passes=context.config.training.epochs,
        objective=objective,
        device=context.accelerator.device,
        processes=context.processes,
    )
    guard = NonFiniteGuard(at_once=True)
    return learner, Training(context=context, model=model, optimizer=None, guard=guard)
