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
    """A registered optimizer: adamw, sgd, adafactor."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate."""
    min_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the last step of a cosine or linear schedule."""
    lr_scheduler_type: str = "cosine"
    """A registered course of the learning rate after the warm-up: cosine, linear, constant."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps in which the learning rate rises linearly to its peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of the matrices; biases and gains are spared. It is decoupled from the gradient
    in AdamW and Adafactor, and added to it in SGD."""
    adam_beta1: Probability = 0.9
    """Decay of AdamW's mean of gradients (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    adam_beta2: Probability = 0.999
    """Decay of AdamW's mean of squared gradients."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Term added to AdamW's denominator."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this global norm; None: they are left as they are."""
