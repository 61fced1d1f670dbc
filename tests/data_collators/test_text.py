"""Batches of text, made by our collators and by those of plugins."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model_foundry.data.batches.examples import Examples
from model_foundry.data.batches.token_examples import Blocks, PackedDocuments, TokenExamples
from model_foundry.data_collators import CausalLMDataCollator, MaskedLMDataCollator
from model_foundry.data_collators.base import Collator
from model_foundry.data_collators.text import AnyCollator
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.data.streams import collating, stream_of

TOKENIZER = TokenizerFactory.train_character(documents=["abcdefghijklmnopqrstuvwxyz"])
STREAM = stream_of(
    np.arange(5, 28), np.arange(23) % 4 + 1, np.arange(23) % 4 == 0, ends=[3, 4, 13, 23]
)
ROWS: dict[str, TokenExamples] = {
    "blocks": Blocks(STREAM, content=5, keep_rest=True, word_starts=True),
    "whole blocks": Blocks(STREAM, content=5, keep_rest=False, word_starts=True),
    "documents": PackedDocuments(STREAM, length=8, overlap=2, word_starts=True),
    "streams": Blocks(STREAM, content=5, keep_rest=True, following=True),
}
COLLATORS: dict[str, Collator] = {
    "causal": CausalLMDataCollator(TOKENIZER),
    "masked": MaskedLMDataCollator(TOKENIZER, mlm_probability=0.4, seed=3),
}


class Spied(CausalLMDataCollator):
    """Overrides the call, and so must be called for each batch."""

    def __call__(self, features: Any) -> dict[str, Tensor]:
        self.features = features
        batch = super().__call__(features)
        return batch | {"weights": torch.ones_like(batch["input_ids"])}


def read(rows: str, *, evaluating: bool = True) -> Examples:
    examples = ROWS[rows]
    return examples.read([(1, i) for i in range(len(examples))], evaluating=evaluating)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]) and tensor.dtype == other[name].dtype, name


@pytest.mark.parametrize("evaluating", [True, False])
@pytest.mark.parametrize("kind", COLLATORS)
@pytest.mark.parametrize("rows", ["blocks", "whole blocks", "documents"])
def test_a_function_of_a_plugin_makes_the_batch_of_the_collator_itself(
    rows: str, kind: str, evaluating: bool
) -> None:
    collator = COLLATORS[kind]
    plugin: AnyCollator = lambda features: collator(features)  # noqa: E731
    examples = read(rows, evaluating=evaluating)
    found = collating(plugin)(examples)
    same(found, collating(collator)(examples))
    assert ("scored_bytes" in found) is evaluating and "num_bytes" not in found
    assert ("attention_mask" in found) is (rows != "whole blocks")


@pytest.mark.parametrize("rows", ["blocks", "documents", "streams"])
def test_a_subclass_with_a_call_of_its_own_is_called_with_its_documented_columns(
    rows: str,
) -> None:
    collator, examples = Spied(TOKENIZER), read(rows)
    found = collating(collator)(examples)
    assert torch.equal(found.pop("weights"), torch.ones_like(found["input_ids"]))
    same(found, collating(COLLATORS["causal"])(examples))
    documented = {"example_id", "input_ids", "document_ids", "is_context", "word_starts"}
    assert {"example_id", "input_ids"} <= set(collator.features[0]) <= documented
    assert [feature["example_id"] for feature in collator.features] == examples.keys


@pytest.mark.parametrize("rows", ROWS)
def test_scored_bytes_are_those_of_the_targets_alone(rows: str) -> None:
    """Neither padding, nor context, nor the first token of a row has any."""
    examples = read(rows)
    batch = collating(COLLATORS["causal"])(examples)
    labels, sizes = batch["labels"], batch["scored_bytes"]
    assert sizes.shape == labels.shape
    scored = (labels != -100).clone()
    scored[:, 0] = False
    known = dict(zip(STREAM.tokens[:].tolist(), STREAM.num_bytes[:].tolist(), strict=True))
    expected = [known[token] for token in labels[scored].tolist()]
    assert sizes[scored].tolist() == expected and not sizes[~scored].any()


def test_document_ids_are_left_out_where_each_row_is_one_document() -> None:
    alone = PackedDocuments(STREAM, length=10)
    keys = [(0, i) for i in range(len(alone))]
    shared = [key for key in keys if alone.read([key]).columns["document_ids"].values.any()]
    single = [key for key in keys if key not in shared]
    assert shared and single
    collate = collating(COLLATORS["causal"])
    assert "document_ids" in collate(alone.read(keys))
    assert "document_ids" not in collate(alone.read(single))
