"""Labels and hidden tokens."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model_foundry.data_collators import (
    CausalLMDataCollator,
    MaskedLMDataCollator,
    get_data_collator,
)
from model_foundry.errors import DataError
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import tiny_experiment

TEXT = "the quick brown fox jumps over the lazy dog and runs away from it"


@pytest.fixture(scope="module")
def gpt_style() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_character(documents=[TEXT])


@pytest.fixture(scope="module")
def bert_style() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_wordpiece(documents=[TEXT], vocab_size=60)


def rows(*lengths: int, first: int = 6) -> list[dict[str, list[int]]]:
    return [{"input_ids": list(range(first, first + length))} for length in lengths]


def test_rows_are_padded_to_the_longest_or_to_a_multiple(
    gpt_style: PreTrainedTokenizerFast,
) -> None:
    assert CausalLMDataCollator(gpt_style)(rows(3, 5))["input_ids"].shape == (2, 5)
    batch = CausalLMDataCollator(gpt_style, pad_to_multiple_of=8)(rows(3, 5))
    assert batch["input_ids"].shape == (2, 8)
    assert batch["attention_mask"].tolist() == [[1] * 3 + [0] * 5, [1] * 5 + [0] * 3]
    assert (batch["input_ids"][0, 3:] == gpt_style.pad_token_id).all()


def test_causal_labels_are_the_tokens_and_padding_is_ignored(
    gpt_style: PreTrainedTokenizerFast,
) -> None:
    batch = CausalLMDataCollator(gpt_style)(rows(3, 5))
    assert batch["labels"].tolist() == [[6, 7, 8, -100, -100], [6, 7, 8, 9, 10]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_end_of_sequence_is_a_target_even_if_it_is_the_pad_token(
    gpt_style: PreTrainedTokenizerFast,
) -> None:
    tokenizer = TokenizerFactory.train_character(documents=[TEXT])
    tokenizer.pad_token = tokenizer.eos_token
    eos = tokenizer.eos_token_id
    batch = CausalLMDataCollator(tokenizer)([{"input_ids": [6, 7, eos]}, {"input_ids": [6]}])
    assert batch["labels"].tolist() == [[6, 7, eos], [6, -100, -100]]


def test_left_padding_is_no_context_for_the_first_token(
    bert_style: PreTrainedTokenizerFast,
) -> None:
    tokenizer = TokenizerFactory.train_character(documents=[TEXT])
    tokenizer.padding_side = "left"
    batch = CausalLMDataCollator(tokenizer)(rows(2, 4))
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 7], [-100, 7, 8, 9]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_documents_are_numbered_in_the_batch_and_begin_without_a_target(side: str) -> None:
    tokenizer = TokenizerFactory.train_character(documents=[TEXT])
    tokenizer.padding_side = side
    features = [
        {"input_ids": [6, 7, 8, 9], "document_ids": [0, 0, 1, 1]},
        {"input_ids": [6, 7], "document_ids": [5, 6]},
    ]
    batch = CausalLMDataCollator(tokenizer)(features)
    padded = {"left": ([-1, -1, 5, 6], [0, 0, 1, 1]), "right": ([5, 6, -1, -1], [1, 1, 0, 0])}
    assert batch["document_ids"].tolist() == [[0, 0, 1, 1], padded[side][0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], padded[side][1]]
    assert batch["labels"].tolist() == [[-100, 7, -100, 9], [-100] * 4]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_context_is_read_and_no_target(gpt_style: PreTrainedTokenizerFast) -> None:
    features = [{"input_ids": [6, 7, 8, 9], "is_context": [1, 1, 0, 0]}]
    batch = CausalLMDataCollator(gpt_style)(features)
    assert batch["input_ids"].tolist() == [[6, 7, 8, 9]]
    assert batch["labels"].tolist() == [[-100, -100, 8, 9]]


def test_a_batch_has_document_ids_only_if_its_rows_have(
    gpt_style: PreTrainedTokenizerFast, bert_style: PreTrainedTokenizerFast
) -> None:
    for collator in (CausalLMDataCollator(gpt_style), MaskedLMDataCollator(bert_style)):
        assert set(collator(rows(3, 5))) == {"input_ids", "attention_mask", "labels"}
        named = [{**row, "document_ids": [0] * len(row["input_ids"])} for row in rows(3, 5)]
        assert collator(named)["document_ids"].tolist() == [[0, 0, 0, -1, -1], [0] * 5]


@pytest.mark.parametrize("name", ["document_ids", "is_context", "word_starts"])
def test_columns_need_a_value_for_each_token(name: str, gpt_style: PreTrainedTokenizerFast) -> None:
    collator = CausalLMDataCollator(gpt_style)
    short = [{**row, name: [0] * 3} for row in rows(3, 5)]
    mixed = [{**rows(3)[0], name: [0] * 3}, *rows(5)]
    nested = [{**rows(3)[0], name: [[0]] * 3}]
    for features in (short, mixed, nested):
        with pytest.raises(ValueError, match=f"^{name} must be in all rows of a batch or in none"):
            collator(features)


def test_without_example_ids_a_collator_draws_from_its_own_generator(
    bert_style: PreTrainedTokenizerFast,
) -> None:
    features = rows(40, first=5)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, again = (MaskedLMDataCollator(bert_style, seed=3) for _ in range(2))
    draws = [one(features)["labels"].tolist() for _ in range(2)]
    assert draws[0] != draws[1]
    assert [again(features)["labels"].tolist() for _ in range(2)] == draws
    assert torch.equal(torch.get_rng_state(), before)


def test_objective_decides_the_collator(
    tmp_path: Path, bert_style: PreTrainedTokenizerFast
) -> None:
    causal = get_data_collator(tiny_experiment("gpt2", tmp_path), bert_style)
    masked = get_data_collator(
        tiny_experiment("bert", tmp_path, "training.mlm_probability=0.3"), bert_style
    )
    assert isinstance(causal, CausalLMDataCollator)
    assert isinstance(masked, MaskedLMDataCollator) and masked.mlm_probability == 0.3


def test_settings_of_the_masks_reach_the_collator(
    tmp_path: Path, bert_style: PreTrainedTokenizerFast
) -> None:
    settings = ("training.mlm_masking=span", "training.mlm_span_length=5", "seed=3")
    collator = get_data_collator(tiny_experiment("bert", tmp_path, *settings), bert_style)
    assert isinstance(collator, MaskedLMDataCollator)
    assert (collator.masking, collator.span_length, collator.seed) == ("span", 5.0, 3)


def test_masking_needs_a_mask_token(bert_style: PreTrainedTokenizerFast) -> None:
    tokenizer = TokenizerFactory.train_wordpiece(documents=[TEXT], vocab_size=60)
    tokenizer.mask_token = None
    with pytest.raises(DataError, match="no mask token"):
        MaskedLMDataCollator(tokenizer)


@pytest.mark.parametrize(
    ("collator", "mlm"), [(CausalLMDataCollator, True), (MaskedLMDataCollator, False)]
)
def test_flag_that_contradicts_the_class_is_refused(
    collator: type, mlm: bool, bert_style: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ValueError, match=f"mlm={mlm}"):
        collator(tokenizer=bert_style, mlm=mlm)


def test_padding_of_rows_is_removed_first(gpt_style: PreTrainedTokenizerFast) -> None:
    features = [
        {"input_ids": [6, 7, 0], "attention_mask": [1, 1, 0], "document_ids": [3, 3, 9]},
        {"input_ids": [6, 7, 8], "attention_mask": [1, 1, 1], "document_ids": [4, 4, 4]},
    ]
    batch = CausalLMDataCollator(gpt_style)(features)
    assert batch["labels"].tolist() == [[-100, 7, -100], [-100, 7, 8]]
    assert batch["document_ids"].tolist() == [[3, 3, -1], [4, 4, 4]]


def test_invalid_batches_are_refused(gpt_style: PreTrainedTokenizerFast) -> None:
    collator = CausalLMDataCollator(gpt_style)
    for features, message in (
        ([], "at least one row"),
        ([{"input_ids": [1.5, 2.0]}], "one row of integers"),
        ([{"input_ids": [[1, 2]]}], "one row of integers"),
    ):
        with pytest.raises(ValueError, match=message):
            collator(features)
    with pytest.raises(ValueError, match="pad_to_multiple_of must be positive"):
        CausalLMDataCollator(gpt_style, pad_to_multiple_of=0)
    with pytest.raises(ValueError, match="mlm_probability must lie between 0 and 1"):
        MaskedLMDataCollator(gpt_style, mlm_probability=2)
