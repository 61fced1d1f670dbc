"""The loss of labels: torch as the oracle, weights by hand, and their mistakes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model_foundry.errors import ConfigError
from model_foundry.objectives.label_loss import binary_loss, class_loss, class_weights

LOGITS, TARGETS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), [0, 0, 0, 1, 1, 2]
NAMES = ["ham", "eggs", "spam"]


def test_without_weights_it_is_the_smoothed_cross_entropy_of_torch() -> None:
    targets = torch.tensor(TARGETS)
    for smoothing in (0.0, 0.2):
        expected = F.cross_entropy(LOGITS, targets, label_smoothing=smoothing)
        assert torch.allclose(
            class_loss(LOGITS, targets, weights=None, smoothing=smoothing), expected
        )


def test_weights_multiply_each_target_and_the_number_of_targets_divides() -> None:
    targets, weights = torch.tensor(TARGETS), torch.tensor([1.0, 2.0, 5.0])
    nats = -LOGITS.log_softmax(-1)[torch.arange(6), targets]
    expected = (nats * weights[targets]).sum() / 6
    assert torch.allclose(class_loss(LOGITS, targets, weights=weights, smoothing=0), expected)


def test_balanced_weights_give_each_class_the_same_share() -> None:
    weights = class_weights("balanced", NAMES, np.array(TARGETS), field="weights")
    assert weights == pytest.approx([6 / (3 * 3), 6 / (3 * 2), 6 / (3 * 1)])
    assert sum(weights[target] for target in TARGETS) == pytest.approx(6)


def test_of_several_labels_weights_apply_where_a_label_is() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.0]] * 2 + [[0.0, 1.0, 1.0]] * 4)
    weights = class_weights("balanced", NAMES, targets.numpy(), field="weights")
    assert weights == pytest.approx([4 / 2, 2 / 4, 2 / 4])
    shares = LOGITS.sigmoid()
    nats = -(targets * torch.tensor(weights) * shares.log() + (1 - targets) * (1 - shares).log())
    found = binary_loss(LOGITS, targets, weights=torch.tensor(weights), smoothing=0)
    assert torch.allclose(found, nats.mean())


def test_smoothing_of_several_labels_moves_targets_to_a_half() -> None:
    found = binary_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), weights=None, smoothing=0.2)
    assert torch.allclose(found, torch.tensor(2.0).log())
    sure = torch.tensor([[2.0]])
    expected = F.binary_cross_entropy(sure.sigmoid(), torch.tensor([[0.9]]))
    loss = binary_loss(sure, torch.tensor([[1.0]]), weights=None, smoothing=0.2)
    assert torch.allclose(loss, expected)


def test_weights_by_name_are_1_for_those_left_out() -> None:
    assert class_weights({"spam": 3.0}, NAMES, np.array(TARGETS), field="f") == [1.0, 1.0, 3.0]
    assert class_weights(None, NAMES, np.array(TARGETS), field="f") is None


def test_a_weight_of_no_label_is_told_with_the_nearest_name_or_all() -> None:
    for given, remedy in (
        ("spma", "did you mean 'spam'?"),
        ("bread", "name 'ham', 'eggs', 'spam'"),
    ):
        with pytest.raises(ConfigError) as caught:
            class_weights({given: 3.0}, NAMES, np.array(TARGETS), field="f")
        law = f"f: {given!r} is no label of the training data; {remedy}"
        assert str(caught.value) == law


def test_an_empty_class_cannot_be_balanced() -> None:
    with pytest.raises(ConfigError, match="none of the training data is 'spam'"):
        class_weights("balanced", NAMES, np.array([0, 1]), field="f")
