"""Checks of the settings that say which weights of a run are kept.

Each check is a function from the experiment to its faults: pairs of (dotted field, message).
"""

from collections.abc import Iterator

from model_foundry.config.built_in import METRICS
from model_foundry.config.section_checks import Fault, Sections, architecture_of, objective_of
from model_foundry.foundation.messages import AVERAGED
from model_foundry.registry import nearest


def metrics_are_measured(config: Sections) -> Iterator[Fault]:
    """Check that the metric of the best checkpoint is one of those of each evaluation."""
    training, objective = config.training, objective_of(config)
    if (given := training.metric_for_best_model) is None or objective is None:
        return
    chosen, field = given.removeprefix(AVERAGED), "training.metric_for_best_model"
    measured = training.evaluation_metrics
    if any(name not in METRICS for name in (chosen, *measured)):
        return  # which is a fault of its own
    if chosen not in measured:
        law = f"must be one of the metrics that are measured ({', '.join(measured)}), got {given!r}"
        close = nearest(chosen, list(measured))
        hint = f"; did you mean {close!r}?" if close else ""
        yield field, f"{law}{hint or '; add it to training.metrics'}"
    elif chosen != given and (training.ema_decay is None or _counts(config)):
        remedy = "set training.ema_decay" if training.ema_decay is None else f"set {chosen}"
        yield field, f"{given!r} is of an average of the weights, and there is none; {remedy}"


def early_stopping_has_evaluations(config: Sections) -> Iterator[Fault]:
    """Check that a run that may stop early is evaluated on its way."""
    patience = config.training.early_stopping_patience
    if patience is not None and config.training.eval_steps is None:
        law = f"(={patience}) counts evaluations, and there is only the one at the end"
        yield "training.early_stopping_patience", f"{law}; set training.eval_steps"


def best_model_has_a_checkpoint(config: Sections) -> Iterator[Fault]:
    """Check that each evaluation that may be the best has a checkpoint to go back to."""
    training, field = config.training, "training.load_best_model_at_end"
    often, saved = training.eval_steps, training.save_steps
    if not training.load_best_model_at_end:
        return
    if often is not None and training.save_strategy == "no":
        law = f"each evaluation (training.eval_steps={often}) needs a checkpoint, and none is saved"
        yield field, f"{law}; set training.save_strategy=steps, or leave it out"
    elif often is not None and (saved is None or often % saved):
        law = f"each evaluation (training.eval_steps={often}) needs a checkpoint"
        yield field, f"{law}; set training.save_steps={often}, or a divisor of it"
    if training.distributed.strategy == "fsdp2":
        law = "cannot load weights that are divided among processes (fsdp2)"
        yield field, f"{law}; leave it out: the best checkpoint is kept as checkpoints/step-*"


def average_is_of_whole_weights(config: Sections) -> Iterator[Fault]:
    """Check that weights of which an average is kept are not divided among processes."""
    decay = config.training.ema_decay
    if decay is not None and config.training.distributed.strategy == "fsdp2":
        law = f"(={decay:g}) keeps an average of whole weights, which fsdp2 divides"
        yield (
            "training.ema_decay",
            f"{law}; leave it out, or set training.distributed.strategy: ddp",
        )


def _counts(config: Sections) -> bool:
    architecture = architecture_of(config)
    return architecture is not None and architecture.trained_by == "counting"
