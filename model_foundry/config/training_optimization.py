"""Settings of training that say how the weights change: length, batches, optimizer, schedule."""

from typing import Annotated

from pydantic import Field

from model_foundry.config.on_resume import OnResume
from model_foundry.config.sections import PositiveInt, Probability, Section


class OptimizationSettings(Section):
    """The length of the run, its batches, its optimizer and its learning rate."""

    max_steps: Annotated[PositiveInt | None, OnResume.BY_CONTENT] = None
    """Optimizer steps; None: as many as `epochs` need."""
    epochs: Annotated[PositiveInt | None, OnResume.BY_CONTENT] = None
    """Passes over the training blocks; None: as many as `max_steps` needs."""
    min_epochs: Annotated[PositiveInt | None, OnResume.FREE] = None
    """Passes that are completed before anything may end the run early; None: any number. The run is
    at least that long, and still ends with `max_steps` or `epochs`."""
    per_device_train_batch_size: Annotated[PositiveInt, OnResume.BY_CONTENT, OnResume.LAST_BITS] = (
        32
    )
    """Most blocks in one forward pass on one device. Together with `gradient_accumulation_steps` it
    sets the global batch, which is the same for any number of processes."""
    per_device_eval_batch_size: Annotated[PositiveInt | None, OnResume.LAST_BITS] = None
    """The same in evaluation; None: as in training."""
    gradient_accumulation_steps: Annotated[PositiveInt, OnResume.BY_CONTENT, OnResume.LAST_BITS] = 1
    """Forward passes in one optimizer step of a single process; several divide them up."""
    optimizer: str = "adamw"
    """A registered optimizer, such as adamw, muon or sgd; `foundry list optimizers` shows all."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate."""
    min_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Lowest learning rate of a schedule that falls, reached at its end."""
    lr_scheduler_type: str = "cosine"
    """A registered course of the learning rate after the warm-up, such as cosine, linear or
    warmup_stable_decay; `foundry list schedules` shows all."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps in which the learning rate rises linearly to its peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of the matrices; biases and gains are spared. It is decoupled from the gradient
    in AdamW, Muon, NAdam, RAdam and Adafactor, and added to it in the others."""
    adam_beta1: Probability = 0.9
    """Decay of the mean of gradients in Adam and its kin (Kingma and Ba 2015, arXiv:1412.6980)."""
    adam_beta2: Probability = 0.999
    """Decay of their mean of squared gradients."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Term added to their denominator."""
    max_grad_value: Annotated[float, Field(gt=0)] | None = None
    """Each entry of the gradient is cut to at most this absolute value; None: it has no limit."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(
        default_factory=lambda data: 1.0 if data.get("max_grad_value") is None else None
    )
    """Gradients are scaled down to this global norm; None: their norm has no limit; left out: 1.0,
    or None beside `max_grad_value`."""
