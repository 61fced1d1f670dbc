"""The losses, against values worked out by hand and against transformers."""

import math

import pytest
import torch
from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss

from model_foundry.architectures.losses import (
    causal_lm_loss,
    labelled,
    language_model_loss,
    masked_lm_loss,
    shifted,
)
from model_foundry.errors import ConfigError

LABELS = torch.tensor([[1, 2, -100, 4], [0, -100, 3, 1]])


def test_shifting_moves_labels_to_the_position_before() -> None:
    assert shifted(LABELS).tolist() == [[2, -100, 4, -100], [-100, 3, 1, -100]]


def test_uniform_logits_cost_the_log_of_the_vocabulary() -> None:
    assert masked_lm_loss(torch.zeros(2, 4, 5), LABELS).item() == pytest.approx(math.log(5))


def test_the_causal_loss_of_one_worked_example() -> None:
    logits = torch.tensor([[[0.0, math.log(3.0)], [9.0, -9.0]]])  # p(1) = 3/4 after the first token
    loss = causal_lm_loss(logits, torch.tensor([[0, 1]]))
    assert loss.item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_losses_are_those_of_transformers(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 4, 5).to(dtype)
    causal, masked = ForCausalLMLoss(logits, LABELS, 5), ForMaskedLMLoss(logits.float(), LABELS, 5)
    torch.testing.assert_close(language_model_loss(logits, LABELS, causal=True), causal)
    torch.testing.assert_close(language_model_loss(logits, LABELS, causal=False), masked)


def test_without_labels_there_is_no_loss() -> None:
    assert language_model_loss(torch.zeros(1, 2, 3), None, causal=True) is None


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", [(2,), (), (2, 3, 1)])
def test_labels_of_whole_rows_are_refused_in_one_line(causal: bool, shape: tuple[int, ...]) -> None:
    labels = torch.zeros(shape, dtype=torch.long)
    for loss in (language_model_loss, labelled):
        with pytest.raises(ConfigError, match=r"^training\.objective: gives labels .*; use an"):
            loss(torch.zeros(2, 3, 4), labels, causal=causal)


@pytest.mark.parametrize(("causal", "columns"), [(True, 5), (True, 1), (False, 4), (False, 2)])
def test_labels_of_another_length_are_refused(causal: bool, columns: int) -> None:
    labels = torch.zeros(2, columns, dtype=torch.long)
    with pytest.raises(ValueError, match=f"labels of {columns} positions for 3 tokens"):
        labelled(torch.zeros(2, 3, 4), labels, causal=causal)
