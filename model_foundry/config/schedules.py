"""The sections of built-in schedules of the learning rate, `training.<name>`."""

from typing import Annotated, Literal

from pydantic import Field

from model_foundry.config.sections import PositiveInt, Section


class CosineWithRestartsConfig(Section):
    """Cosines one after another (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    num_cycles: PositiveInt = 4
    """Cosines of equal length between the warm-up and the end of the run."""


class PolynomialConfig(Section):
    """A power of the remaining share of the run."""

    power: Annotated[float, Field(gt=0)] = 2.0
    """Exponent; 1: a straight line."""


class InverseSqrtConfig(Section):
    """The inverse square root of the step (Vaswani et al. 2017, arXiv:1706.03762)."""

    timescale: PositiveInt | None = None
    """Steps T of the rate, peak x sqrt(T / (T + steps since the warm-up)), which halves after 3 T;
    None: `warmup_steps`, as in the paper, or 10,000 without a warm-up."""


class WarmupStableDecayConfig(Section):
    """A constant rate that falls at the end (Hu et al. 2024, arXiv:2404.06395).

    A run that is extended while it is constant repeats nothing.
    """

    decay_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the optimizer steps after the warm-up in which the learning rate falls."""
    decay_type: Literal["1-sqrt", "linear", "cosine"] = "1-sqrt"
    """Shape of the fall; 1-sqrt was found best (Hägele et al. 2024, arXiv:2405.18392)."""


class PlateauConfig(Section):
    """Reductions of the learning rate when the metric of the best model stops improving."""

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor of the learning rate at a reduction."""
    patience: Annotated[int, Field(ge=0)] = 2
    """Evaluations without an improvement that are tolerated; the next one is a reduction."""
    threshold: Annotated[float, Field(ge=0)] = 1e-4
    """Smallest change that is an improvement, as a share of the best value."""
    cooldown: Annotated[int, Field(ge=0)] = 0
    """Evaluations after a reduction that do not count towards the next one."""
