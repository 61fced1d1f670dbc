"""The training loop. It trains any `BaseLanguageModel` and knows none.

One *step* is one optimizer update. Its loss is the sum over all valid labels of its micro-batches,
on all processes, divided by their number; how the step is cut up therefore does not matter.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from accelerate import Accelerator

from model_foundry.architectures import BaseLanguageModel, ModelOutput
from model_foundry.config import TrainingConfig
from model_foundry.data.loaders import Batch
from model_foundry.errors import ConfigError, NonFiniteError
from model_foundry.objectives import Objective
from model_foundry.training.metrics import MetricsLog
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.progress import Display
from model_foundry.training.schedule import is_due, learning_rate
from model_foundry.training.state import TrainState

logger = logging.getLogger(__name__)

Evaluate = Callable[[BaseLanguageModel], Mapping[str, float]]
Save = Callable[[BaseLanguageModel, torch.optim.Optimizer, TrainState], None]


@dataclass(frozen=True)
class StepResult:
    """What one step was made of."""

    loss: float
    """Nats per valid label."""
    grad_norm: float
    """Global norm of the gradient before clipping."""
    labels: int
    """Valid labels, on all processes."""


def train(
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
) -> TrainState:
    """Train a model until `horizon` steps are made.

    Dropout, and nothing else, draws from torch's global generator, which the caller seeds.

    Args:
        batches: micro-batches without end, `config.gradient_accumulation_steps` for each step.
        state: where the run stands; it is advanced in place and returned.
        evaluate: measures the model on held-out text; must not touch global random state.
        save: writes a checkpoint.

    Raises:
        NonFiniteError: the loss or the gradient of a step is not finite; the weights are those of
            the step before.
    """
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if config.compile:
        model.compile()
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config))
    bare = accelerator.unwrap_model(model)
    watch = _Stopwatch()
    while state.step < horizon:
        micro_batches = list(islice(batches, config.gradient_accumulation_steps))
        rate = learning_rate(state.step, config, horizon)
        result = take_step(
            model,
            optimizer,
            micro_batches,
            objective=objective,
            learning_rate=rate,
            max_grad_norm=config.max_grad_norm,
            accelerator=accelerator,
            step=state.step,
        )
        _advance(state, micro_batches)
        watch.count(micro_batches)
        display.advance(state.step)
        if is_due(state.step, config.logging_steps, horizon):
            values = _metrics(state, result, rate, watch.tokens_per_second())
            log.write(state.step, values)
            display.training(state.step, values)
        if is_due(state.step, config.eval_steps, horizon):
            with watch.paused():
                figures = {f"eval/{name}": value for name, value in evaluate(bare).items()}
            log.write(state.step, figures)
            display.evaluation(state.step, figures)
        if is_due(state.step, config.save_steps, horizon):
            with watch.paused():
                save(bare, optimizer.optimizer, state)
    return state


def take_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: list[Batch],
    *,
    objective: Objective,
    learning_rate: float,
    max_grad_norm: float | None,
    accelerator: Accelerator,
    step: int,
) -> StepResult:
    """Make one update from the micro-batches of this process.

    Args:
        max_grad_norm: largest global norm of the gradient; None: no bound.
        step: updates made before, for messages.

    Raises:
        NonFiniteError: the loss or the gradient is not finite; the update was not made.
    """
    model.train()
    counts = [int(objective.scored(batch.inputs["labels"]).sum()) for batch in micro_batches]
    # Known before the first backward pass, so that each micro-batch is scaled once and for all.
    total = int(accelerator.reduce(torch.tensor(sum(counts), device=accelerator.device), "sum"))
    if total == 0:
        logger.warning("step %d has no label to learn from; its update is left out", step + 1)
        return StepResult(loss=0.0, grad_norm=0.0, labels=0)
    summed = torch.zeros((), device=accelerator.device)
    # the mean over no labels is undefined, and its sum is zero
    labelled = [pair for pair in zip(micro_batches, counts, strict=True) if pair[1]]
    for index, (batch, count) in enumerate(labelled):
        inputs = {name: tensor.to(accelerator.device) for name, tensor in batch.inputs.items()}
        # processes exchange gradients once, after the last micro-batch
        last = index == len(labelled) - 1
        with nullcontext() if last else accelerator.no_sync(model):
            loss = _loss_of(model(**inputs)) * (count / total)
            # DDP averages gradients over the processes, which the factor undoes
            accelerator.backward(loss * accelerator.num_processes)
        summed += loss.detach()
    # The norm is returned as it was before clipping; without a bound nothing is scaled.
    norm = accelerator.clip_grad_norm_(
        model.parameters(), math.inf if max_grad_norm is None else max_grad_norm
    )
    result = StepResult(float(accelerator.reduce(summed, "sum")), float(norm), total)
    _require_finite(result, step=step, learning_rate=learning_rate, scaled=accelerator.scaler)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return result


def _loss_of(output: ModelOutput) -> torch.Tensor:
    if output.loss is None:
        raise ConfigError(
            "model.architecture: the model was given labels and returned no loss; mend its forward"
        )
    return output.loss


def _require_finite(result: StepResult, *, step: int, learning_rate: float, scaled: object) -> None:
    # Under fp16 the gradient scaler skips updates that overflow and lowers its scale; the loss
    # itself must be finite all the same.
    finite = math.isfinite(result.loss) and (scaled or math.isfinite(result.grad_norm))
    if not finite:
        raise NonFiniteError(
            f"step {step + 1}: loss {result.loss}, gradient norm {result.grad_norm} at learning "
            f"rate {learning_rate:.3g}; the update was not made. Lower training.learning_rate, or "
            "lengthen training.warmup_steps."
        )


def _advance(state: TrainState, micro_batches: list[Batch]) -> None:
    state.step += 1
    state.blocks_seen += sum(len(batch.inputs["input_ids"]) for batch in micro_batches)
    state.tokens_seen += sum(batch.tokens for batch in micro_batches)
    state.words_seen += sum(batch.words for batch in micro_batches)


def _metrics(state: TrainState, result: StepResult, rate: float, speed: float) -> dict[str, float]:
    return {
        "train/loss": result.loss,
        "train/learning_rate": rate,
        "train/grad_norm": result.grad_norm,
        "train/tokens_per_second": speed,
        "train/tokens_seen": state.tokens_seen,
        "train/words_seen": state.words_seen,
    }


class _Stopwatch:
    """Tokens per second of training since the last reading; evaluations and saves do not count."""

    def __init__(self) -> None:
        self._since, self._tokens = time.perf_counter(), 0

    def count(self, micro_batches: list[Batch]) -> None:
        self._tokens += sum(batch.tokens for batch in micro_batches)

    def tokens_per_second(self) -> float:
        now = time.perf_counter()
        speed = self._tokens / (now - self._since)
        self._since, self._tokens = now, 0
        return speed

    @contextmanager
    def paused(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._since += time.perf_counter() - begun
