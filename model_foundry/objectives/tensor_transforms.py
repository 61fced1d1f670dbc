"""The built-in transforms, each of one tensor of a record.

Letters of shapes: C channels, H and W pixels.
"""

import numpy as np
import torch
from torch import Tensor

from model_foundry.errors import ConfigError


def add_noise(values: Tensor, *, deviation: float, generator: np.random.Generator) -> Tensor:
    """Return real numbers of any shape with normal noise on each.

    Raises:
        ConfigError: they are integers.
    """
    noise = generator.normal(0, deviation, tuple(values.shape))
    return _real(values, "add_noise") + torch.from_numpy(noise).to(values)


def normalize(values: Tensor, *, mean: float, deviation: float) -> Tensor:
    """Return real numbers of any shape, less a mean, divided by a standard deviation.

    Raises:
        ConfigError: they are integers.
    """
    return (_real(values, "normalize") - mean) / deviation


def random_shift(values: Tensor, *, pixels: int, generator: np.random.Generator) -> Tensor:
    """Return an image, (..., H, W), shifted at random down or up and right or left.

    The pixels at its edge are repeated where the shift leaves a gap.
    """
    down, right = generator.integers(-pixels, pixels, size=2, endpoint=True).tolist()
    height, width = values.shape[-2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return values[..., rows[:, None], columns]


def token_dropout(
    input_ids: Tensor, *, share: float, replacement: int, generator: np.random.Generator
) -> Tensor:
    """Return token ids of any shape, each replaced with a probability.

    Special tokens are treated as all others; replaced padding is still hidden by the mask.
    """
    drawn = torch.from_numpy(generator.random(tuple(input_ids.shape)))
    return input_ids.masked_fill(drawn < share, replacement)


def _real(values: Tensor, name: str) -> Tensor:
    if not values.is_floating_point():
        found = f"{values.dtype}".removeprefix("torch.")
        raise ConfigError(f"training.transforms: {name!r} needs real numbers, got {found}")
    return values
