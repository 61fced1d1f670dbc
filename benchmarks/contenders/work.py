"""Inputs of a contender: a shape, tokens, a device, and the file of its ticks."""

import json
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.shapes import Shape

MASKED = 0.15  # share of the tokens that a masked objective hides


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of one contender."""

    directory: Path
    """Of the workload."""
    ticks: Path
    shape: Shape
    bf16: bool

    @property
    def device(self) -> torch.device:
        """The device."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def tokens(self) -> Tensor:
        """Return the ids of the training text, on the CPU."""
        return torch.from_numpy(np.load(self.directory / "tokens.npy"))

    def tick(self, step: int, loss: Tensor | float) -> None:
        """Write a tick after so many steps; the loss is read, as for a log."""
        read = loss.item() if isinstance(loss, Tensor) else loss
        line: dict[str, float] = {"loss": read, "step": step, "time": time.time()}
        if torch.cuda.is_available():
            line["cuda_bytes"] = torch.cuda.max_memory_allocated()
        with self.ticks.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class Rows:
    """Random rows of a text, as nanoGPT draws them (github.com/karpathy/nanoGPT)."""

    def __init__(self, work: Work) -> None:
        self.tokens, self.shape, self.device = work.tokens(), work.shape, work.device
        self.draw = torch.Generator().manual_seed(0)

    def __call__(self) -> Tensor:
        """Return (B, T) ids."""
        length = self.shape.block
        most = len(self.tokens) - length
        starts = torch.randint(most, (self.shape.batch,), generator=self.draw).tolist()
        rows = torch.stack([self.tokens[start : start + length] for start in starts])
        return rows.to(self.device)

    def masked(self, mask_id: int) -> tuple[Tensor, Tensor]:
        """Return (B, T) ids with some hidden, and labels with the rest at -100."""
        ids = self()
        hidden = torch.rand(ids.shape, generator=self.draw).to(self.device) < MASKED
        return ids.masked_fill(hidden, mask_id), ids.masked_fill(~hidden, -100)
