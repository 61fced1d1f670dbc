"""Histograms count what is in a tensor, and leave the training as it is."""

import threading

import numpy as np
import pytest
import torch

from model_foundry.training.histograms import PendingHistograms, histogram


def test_a_histogram_counts_the_finite_values() -> None:
    values = torch.tensor([[0.0, 1.0, 2.0], [3.0, float("nan"), float("inf")]])
    found = histogram(values, bins=3)
    assert found is not None
    assert found.counts == (1, 1, 2)
    assert found.edges == (0.0, 1.0, 2.0, 3.0)
    assert (found.number, found.sum, found.sum_of_squares) == (4, 6.0, 14.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_value_is_in_one_bin(dtype: torch.dtype) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = histogram(values)
    assert found is not None
    assert sum(found.counts) == found.number == 1000
    assert found.edges[0] == values.min().item() and found.edges[-1] == values.max().item()


def test_the_counts_are_those_of_numpy() -> None:
    values = torch.randn(100_003, generator=torch.Generator().manual_seed(2))
    values[7], values[70_000] = float("inf"), float("-inf")
    found, finite = histogram(values), values[values.isfinite()].double().numpy()
    counts, edges = np.histogram(finite, bins=64)
    assert found is not None
    assert found.counts == tuple(counts) and found.edges == tuple(edges)
    assert found.sum == pytest.approx(finite.sum())
    assert found.sum_of_squares == pytest.approx((finite**2).sum())


def test_equal_values_have_a_bin_around_them() -> None:
    found = histogram(torch.full((5,), 2.0))
    assert found is not None
    assert found.edges[0] < 2 < found.edges[-1] and sum(found.counts) == 5


def test_neighbouring_values_are_told_apart() -> None:
    one = torch.tensor([1.0, 1.0 + 2**-23])
    found = histogram(one)
    assert found is not None and found.counts[0] == found.counts[-1] == 1


def test_there_is_no_histogram_of_nothing() -> None:
    assert histogram(torch.tensor([float("nan")])) is None
    assert histogram(torch.empty(0)) is None


def test_copies_are_counted_once_and_dropped() -> None:
    pending = PendingHistograms({"weights/a": torch.ones(3), "weights/b": torch.empty(0)})
    assert not pending.is_counted
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(pending.counted())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pending.is_counted and pending._tensors == {}
    assert len({id(each) for each in found}) == 1
    assert list(pending.counted()) == ["weights/a"]
