"""Encoder-decoders that read their targets are refused, and those of the package are not."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures import BaseModel, ModelOutput
from model_foundry.errors import ConfigError
from model_foundry.evaluation.target_leaks import require_no_target_leak

B, S, T, V, H = 3, 6, 5, 11, 8
DRAW = torch.Generator().manual_seed(0)
LABELS = torch.randint(1, V, (B, T), generator=DRAW)
LABELS[1, 3:] = -100
INPUTS = {
    "input_ids": torch.randint(1, V, (B, S), generator=DRAW),
    "attention_mask": torch.ones(B, S, dtype=torch.int64),
    "labels": LABELS,
}


class Writer(BaseModel):
    """A decoder whose state is a running mean of what it reads, and of the source."""

    model_type = "writer"

    def __init__(self, *, reads: Callable[[Tensor], Tensor], mixes: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(V, H), nn.Linear(H, V)
        self.reads, self.mixes = reads, mixes

    @classmethod
    def from_config(cls, config: Any, **arguments: Any) -> Any:
        raise AssertionError

    def forward(self, input_ids: Tensor, labels: Tensor, **more: Any) -> ModelOutput:
        x = self.embed(self.reads(labels.clamp(min=0)))  # (B, T, H)
        if self.mixes and self.training:
            x = x - x.mean(0)
        mean = x.cumsum(1) / torch.arange(1, T + 1)[:, None]
        return ModelOutput(logits=self.head(mean + self.embed(input_ids).mean(1, keepdim=True)))


def shifted(labels: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], dim=1)


def test_a_model_that_shifts_is_accepted() -> None:
    model = Writer(reads=shifted).eval()
    require_no_target_leak(model, INPUTS, "no")
    assert not model.training


@pytest.mark.parametrize(
    "reads",
    [
        lambda labels: labels,
        lambda labels: shifted(labels).flip(1),
    ],
)
def test_a_model_that_reads_its_targets_is_refused(
    reads: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(ConfigError, match=r"model\.architecture \(=writer\): the logits of"):
        require_no_target_leak(Writer(reads=reads), INPUTS, "no")


def test_rows_that_mix_in_training_are_refused() -> None:
    with pytest.raises(ConfigError, match="row 1 depends on row 0"):
        require_no_target_leak(Writer(reads=shifted, mixes=True), INPUTS, "no")


def test_targets_that_cannot_be_exchanged_are_not_checked() -> None:
    same = INPUTS | {"labels": torch.full((B, T), 4)}
    model = cast(BaseModel, None)
    require_no_target_leak(model, same, "no")
