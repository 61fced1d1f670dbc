"""The majority baseline: by hand, and against our metrics of a constant prediction."""

import numpy as np
import pytest

from model_foundry.objectives.majority import majority_figures


def test_the_most_frequent_label_of_the_training_data_by_hand() -> None:
    train, held_out = np.array([2, 2, 0]), np.array([0, 2, 1, 2])
    # label 2: precision 2/4, recall 1; labels 0 and 1: none predicted
    assert majority_figures(train, held_out) == {
        "accuracy": 0.5,
        "macro_f1": pytest.approx((0 + 0 + 2 / 3) / 3),
    }


def test_a_label_that_only_training_has_counts_where_it_is_predicted() -> None:
    figures = majority_figures(np.array([3, 3, 1]), np.array([0, 0]))
    assert figures == {"accuracy": 0.0, "macro_f1": 0.0}
    assert majority_figures(np.array([0, 0, 1]), np.array([0, 0]))["macro_f1"] == 1.0


def test_of_several_labels_those_of_most_examples() -> None:
    train = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0]], np.float32)
    held_out = np.array([[1, 1, 0], [0, 0, 0]], np.float32)
    # label 0: precision 1/2, recall 1; label 1: not predicted; label 2: neither
    assert majority_figures(train, held_out) == {"macro_f1": pytest.approx((2 / 3 + 0) / 2)}
