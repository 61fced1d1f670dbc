"""The built-in courses of the learning rate after the warm-up.

Those with a `min_learning_rate` go from the peak down to it; names follow transformers'
`lr_scheduler_type`.
"""

import math
from collections.abc import Callable
from typing import Final

from model_foundry.config import TrainingConfig
from model_foundry.config.schedules import (
    CosineWithRestartsConfig,
    InverseSqrtConfig,
    PlateauConfig,
    PolynomialConfig,
    WarmupStableDecayConfig,
)
from model_foundry.training.schedule_point import SchedulePoint

TIMESCALE: Final = 10_000  # steps, without a warm-up: as in T5 (Raffel et al. 2020)


def cosine(point: SchedulePoint, training: TrainingConfig) -> float:
    """Return half a cosine from the peak to the minimum (Loshchilov and Hutter 2017)."""
    return _between(training, _half_cosine(point.progress))


def cosine_with_restarts(
    point: SchedulePoint, training: TrainingConfig, section: CosineWithRestartsConfig
) -> float:
    """Return several cosines, each from the peak (Loshchilov and Hutter 2017)."""
    passed = point.progress * section.num_cycles
    return _between(training, _half_cosine(1.0 if point.progress == 1 else passed % 1))


def linear(point: SchedulePoint, training: TrainingConfig) -> float:
    """Return a straight line from the peak to the minimum."""
    peak, low = training.learning_rate, training.min_learning_rate
    return peak + (low - peak) * point.progress


def polynomial(point: SchedulePoint, training: TrainingConfig, section: PolynomialConfig) -> float:
    """Return a power of the remaining share, from the peak to the minimum."""
    return _between(training, (1 - point.progress) ** section.power)


def constant(point: SchedulePoint, training: TrainingConfig) -> float:
    """Return the peak."""
    return training.learning_rate


def inverse_sqrt(
    point: SchedulePoint, training: TrainingConfig, section: InverseSqrtConfig
) -> float:
    """Return the inverse square root of the step, at least the minimum (Vaswani et al. 2017)."""
    scale = section.timescale or training.warmup_steps or TIMESCALE
    rate = training.learning_rate * math.sqrt(scale / (scale + point.step))
    return max(rate, training.min_learning_rate)


def warmup_stable_decay(
    point: SchedulePoint, training: TrainingConfig, section: WarmupStableDecayConfig
) -> float:
    """Return the peak, and in the end a fall to the minimum (Hu et al. 2024, arXiv:2404.06395)."""
    passed = (point.progress - (1 - section.decay_share)) / section.decay_share
    return _between(training, DECAYS[section.decay_type](min(1.0, max(0.0, passed))))


def reduce_lr_on_plateau(
    point: SchedulePoint, training: TrainingConfig, section: PlateauConfig
) -> float:
    """Return the peak, reduced whenever evaluations no longer improve, down to the minimum."""
    rate = training.learning_rate * section.factor**point.reductions
    return max(rate, training.min_learning_rate)


def _half_cosine(passed: float) -> float:
    return (1 + math.cos(math.pi * passed)) / 2


DECAYS: Final[dict[str, Callable[[float], float]]] = {
    "1-sqrt": lambda passed: 1 - math.sqrt(passed),
    "linear": lambda passed: 1 - passed,
    "cosine": _half_cosine,
}


def _between(training: TrainingConfig, share: float) -> float:
    """Return the rate that is at this share of the way from the minimum up to the peak."""
    peak, low = training.learning_rate, training.min_learning_rate
    return low + (peak - low) * share
