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
    return _real(values) + torch.from_numpy(noise).to(values)


def normalize(values: Tensor, *, mean: float, deviation: float) -> Tensor:
    """Return real numbers of any shape, less a mean, divided by a standard deviation.

    Raises:
        ConfigError: they are integers.
    """
    return (_real(values) - mean) / deviation


def random_shift(values: Tensor, *, pixels: int, generator: np.random.Generator) -> Tensor:
    """Return an image, (..., H, W), shifted at random down or up and right or left.

    The pixels at its edge are repeated where the shift leaves a gap.

    Raises:
        ConfigError: it is no image, or so small that a shift could leave nothing of it.
    """
    if values.dim() < 2:
        raise ConfigError(f"needs an image (..., H, W), got the shape {tuple(values.shape)}")
    down, right = generator.integers(-pixels, pixels, size=2, endpoint=True).tolist()
    height, width = values.shape[-2:]
    if pixels >= min(height, width):
        law = f"must be < {min(height, width)}, as the images are {height} x {width} pixels"
        raise ConfigError(f"pixels (={pixels}) {law}")
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


def _real(values: Tensor) -> Tensor:
    if not values.is_floating_point():
        found = f"{values.dtype}".removeprefix("torch.")
        raise ConfigError(f"needs real numbers, got {found}")
    return values
