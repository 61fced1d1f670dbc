"""The collator of any columns: fillers, masks, types and shapes."""

import numpy as np
import pytest
import torch

from model_foundry.data.batches.examples import Column, Examples, Ragged
from model_foundry.data_collators import PaddingCollator


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
