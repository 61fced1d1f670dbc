"""Settings of training that say which weights are kept: the best, when to stop, an average."""

from typing import Annotated

from pydantic import Field

from model_foundry.config.on_resume import OnResume
from model_foundry.config.sections import PositiveInt, Section


class SelectionSettings(Section):
    """The best evaluation, early stopping, and the average of the weights."""

    metric_for_best_model: str | None = None
    """Metric that decides which checkpoint is the best; `ema/loss` is that of the average of the
    weights. None: the first of `metrics`."""
    greater_is_better: bool | None = None
    """True if the largest value of that metric is the best, false if the smallest; None: as the
    metric says."""
    load_best_model_at_end: Annotated[bool, OnResume.FREE] = False
    """Keep the weights of the best evaluation as the final model instead of those of the last step.
    Each evaluation then needs a checkpoint: `eval_steps` is a multiple of `save_steps`."""
    early_stopping_patience: Annotated[PositiveInt | None, OnResume.FREE] = None
    """Evaluations without an improvement of the best one after which the run ends; None: it never
    ends before its last step. The learning rate does not depend on it."""
    early_stopping_threshold: Annotated[Annotated[float, Field(ge=0)], OnResume.FREE] = 0.0
    """An evaluation is an improvement if it is better than the best one by more than this, in the
    unit of the metric."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the exponential moving average of the weights that each step keeps, so that it
    spans about 1 / (1 - decay) steps; it is evaluated and saved beside the weights. None: there is
    no average."""
