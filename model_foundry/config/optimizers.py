"""The sections of built-in optimizers, `training.<name>`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_foundry.config.sections import Probability, Section, faults_error

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class SGDConfig(Section):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) or without."""

    momentum: Probability = 0.0
    """Decay of the sum of gradients; 0: an update follows the last gradient alone."""
    nesterov: bool = False
    """Evaluate the momentum one update ahead."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SGDConfig":
        if self.nesterov and not self.momentum:
            raise faults_error(("nesterov", "needs momentum > 0; set it, or drop nesterov"))
        return self


class MuonConfig(Section):
    """Muon for hidden matrices, AdamW for all other parameters.

    The settings are those of the matrices. Embeddings, output layer, biases and gains follow
    `training.learning_rate`, `weight_decay` and the settings of AdamW.
    """

    learning_rate: Positive | None = None
    """Peak learning rate of the matrices, which the schedule scales as it does the other one; None:
    `training.learning_rate`. With the adjustment `original`, 0.02 is usual."""
    weight_decay: NonNegative | None = None
    """Decoupled weight decay of the matrices; None: `training.weight_decay`."""
    momentum: Probability = 0.95
    """Decay of the mean of gradients."""
    nesterov: bool = True
    """Evaluate the momentum one update ahead."""
    ns_steps: Annotated[int, Field(gt=0, lt=100)] = 5
    """Newton-Schulz iterations, which bring the singular values of an update close to 1."""
    adjust_lr_fn: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """Factor of the learning rate for a matrix of A x B entries: match_rms_adamw: 0.2 sqrt(max(A,
    B)), with which rates found for AdamW fit (Liu et al. 2025, arXiv:2502.16982); original:
    sqrt(max(1, A / B)) (Jordan et al. 2024)."""


class NAdamConfig(Section):
    """Adam with Nesterov momentum (Dozat 2016)."""

    momentum_decay: NonNegative = 0.004
    """Speed at which the momentum rises to `adam_beta1`."""


class RMSpropConfig(Section):
    """Gradients divided by the root of the mean of their squares (Tieleman and Hinton 2012)."""

    alpha: Probability = 0.99
    """Decay of the mean of squared gradients."""
    momentum: Probability = 0.0
    """Decay of the sum of updates; 0: none."""
    centered: bool = False
    """Divide by the standard deviation instead (Graves 2013, arXiv:1308.0850)."""
    epsilon: Positive = 1e-8
    """Term added to the denominator."""


class AdagradConfig(Section):
    """Gradients divided by the root of the sum of their squares (Duchi et al. 2011)."""

    initial_accumulator_value: NonNegative = 0.0
    """Sum of squared gradients before the first update."""
    epsilon: Positive = 1e-10
    """Term added to the denominator."""


class AdadeltaConfig(Section):
    """Updates of the size of earlier updates (Zeiler 2012, arXiv:1212.5701).

    In the paper the learning rate is 1.
    """

    rho: Probability = 0.9
    """Decay of the means of squared gradients and of squared updates."""
    epsilon: Positive = 1e-6
    """Term added below both roots."""
