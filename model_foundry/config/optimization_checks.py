"""Checks of the length of a run, its learning rate and the limits of its gradients."""

from collections.abc import Iterator

from model_foundry.config.built_in import SCHEDULES
from model_foundry.config.section_checks import Fault, Sections


def length_is_given_once(config: Sections) -> Iterator[Fault]:
    """Check that the length of a run is given once, in steps or in epochs."""
    steps, epochs = config.training.max_steps, config.training.epochs
    if steps is None and epochs is None:
        yield "training.max_steps", "is required, unless training.epochs is given"
    elif steps is not None and epochs is not None:
        yield (
            "training.epochs",
            f"(={epochs}) and training.max_steps (={steps}) both set the length of the run; "
            "drop one (~training.epochs or ~training.max_steps on the command line)",
        )


def warmup_within_run(config: Sections) -> Iterator[Fault]:
    """Check that the warm-up is not longer than the run."""
    warmup, steps = config.training.warmup_steps, config.training.max_steps
    if steps is not None and warmup > steps:
        law = f"must be <= training.max_steps (={steps}), got {warmup}"
        yield "training.warmup_steps", f"{law}; lower the first or raise the second"


def minimum_below_peak(config: Sections) -> Iterator[Fault]:
    """Check that the minimum learning rate is not above the peak."""
    low, peak = config.training.min_learning_rate, config.training.learning_rate
    if low > peak:
        yield "training.min_learning_rate", f"must be <= learning_rate (={peak:g}), got {low:g}"


def minimum_within_length(config: Sections) -> Iterator[Fault]:
    """Check that the fewest passes are not more than all of them."""
    fewest, epochs = config.training.min_epochs, config.training.epochs
    if fewest is not None and epochs is not None and fewest > epochs:
        law = f"must be <= training.epochs (={epochs}), got {fewest}"
        yield "training.min_epochs", f"{law}; lower the first or raise the second"


def gradients_are_clipped_once(config: Sections) -> Iterator[Fault]:
    """Check that gradients are limited by their norm or by their values."""
    norm, value = config.training.max_grad_norm, config.training.max_grad_value
    if norm is not None and value is not None:
        law = f"(={value:g}) and training.max_grad_norm (={norm:g}) both limit the gradients"
        yield "training.max_grad_value", f"{law}; drop one"


def plateaus_are_evaluated(config: Sections) -> Iterator[Fault]:
    """Check that a schedule that follows evaluations has some before the end."""
    name = config.training.lr_scheduler_type
    schedule = SCHEDULES.get(name)
    if schedule and schedule.follows_evaluations and config.training.eval_steps is None:
        law = f"is required by lr_scheduler_type {name!r}, which follows evaluations"
        yield "training.eval_steps", f"{law}; set it, or another schedule"
