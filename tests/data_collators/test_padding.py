"""The collator of any columns: fillers, masks, types and shapes."""

import numpy as np
import pytest
import torch

from model_foundry.data.batches.examples import Column, Examples, Ragged
from model_foundry.data_collators import PaddingCollator
from model_foundry.errors import ConfigError


def examples(**columns: Column) -> Examples:
    number = len(next(iter(columns.values())))
    return Examples(keys=[(0, i) for i in range(number)], columns=columns, counts={})


def ragged(*rows: list[float], dtype: str = "int64") -> Ragged:
    return Ragged.of([np.array(row, dtype) for row in rows])


def test_each_column_is_padded_on_the_right_with_its_filler() -> None:
    collate = PaddingCollator(fillers={"labels": -100, "weights": 0.5})
    batch = collate(
        examples(
            input_ids=ragged([1, 2, 3], [4], []),
            labels=ragged([1], [2, 3], [4]),
            weights=ragged([0.25], [], [1.0, 2.0], dtype="float32"),
        )
    )
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]
    assert batch["labels"].tolist() == [[1, -100], [2, 3], [4, -100]]
    assert batch["weights"].tolist() == [[0.25, 0.5], [0.5, 0.5], [1.0, 2.0]]
    assert batch.keys() == {"input_ids", "labels", "weights"}
    types = [batch[name].dtype for name in ("input_ids", "weights")]
    assert types == [torch.int64, torch.float32]


@pytest.mark.parametrize(
    ("rows", "mask"),
    [
        ([[1, 2], [3]], [[1, 1], [1, 0]]),
        ([[1, 2], [3, 4]], [[1, 1], [1, 1]]),
        ([[], [3]], [[0], [1]]),
    ],
)
def test_a_mask_is_there_with_padding_and_without(
    rows: list[list[float]], mask: list[list[int]]
) -> None:
    collate = PaddingCollator(masks={"source": "attention_mask"})
    batch = collate(examples(source=ragged(*rows), target=ragged(*rows)))
    assert batch["attention_mask"].tolist() == mask
    assert batch["attention_mask"].dtype == torch.int64
    assert batch.keys() == {"source", "target", "attention_mask"}


def test_dense_columns_stay_as_they_are() -> None:
    pixels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    batch = PaddingCollator()(examples(pixels=pixels, label=np.array([5, 6]), turned=pixels[::-1]))
    assert torch.equal(batch["pixels"], torch.from_numpy(pixels))
    assert batch["label"].tolist() == [5, 6]
    assert batch["turned"].is_contiguous() and batch["turned"][0].tolist() == pixels[1].tolist()


def test_rows_of_vectors_are_padded_as_numbers_are() -> None:
    frames = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) + 9 for n in (1, 1, 4)]
    for given in (frames, frames[:2], frames[::-1]):  # with padding and without
        rows = Ragged.of(given)
        batch = PaddingCollator(masks={"frames": "mask"})(examples(frames=rows))
        longest = max(map(len, given))
        assert batch["frames"].shape == (len(given), longest, 2)
        for place, row in enumerate(given):
            assert batch["frames"][place, : len(row)].tolist() == row.tolist()
            assert not batch["frames"][place, len(row) :].any()
            assert batch["mask"][place].tolist() == [1] * len(row) + [0] * (longest - len(row))


def test_padding_of_labels_is_no_target_and_labels_are_int64() -> None:
    for dtype in ("int64", "uint8", "int8", "uint16", "bool"):
        row, other = np.array([1, 0, 1], dtype), np.array([1], dtype)
        batch = PaddingCollator()(examples(labels=Ragged.of([row, other])))
        assert batch["labels"].dtype == torch.int64
        assert batch["labels"].tolist() == [[1, 0, 1], [1, -100, -100]]
        batch = PaddingCollator()(examples(labels=row, mask=np.array([0, 1, 1], dtype)))
        assert batch["labels"].dtype == torch.int64
        assert batch["mask"].numpy().dtype == dtype  # of labels only
    values = np.array([0.5, -100.0], np.float32)
    assert PaddingCollator()(examples(labels=values))["labels"].dtype == torch.float32
    chosen = PaddingCollator(fillers={"labels": 7})(examples(labels=ragged([1, 2], [3])))
    assert chosen["labels"].tolist() == [[1, 2], [3, 7]]


def test_padding_of_labels_that_are_real_numbers_must_be_named() -> None:
    labels = ragged([0.5, 1.5], [2.5], dtype="float32")
    with pytest.raises(ConfigError, match=r"'labels' are rows of real numbers, .*; name its value"):
        PaddingCollator()(examples(labels=labels))
    batch = PaddingCollator(fillers={"labels": 0})(examples(labels=labels))
    assert batch["labels"].tolist() == [[0.5, 1.5], [2.5, 0]]
