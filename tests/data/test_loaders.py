"""Blocks and batches: nothing lost, nothing twice, and an order that follows from the seed."""

from collections import Counter
from itertools import islice

import numpy as np
import torch

from model_foundry.data.blocks import Blocks
from model_foundry.data.loaders import assemble, evaluation_batches, training_batches
from model_foundry.data.order import TrainingOrder, permutation
from model_foundry.data.packing import TokenStream
from model_foundry.data_collators import CausalLMDataCollator
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

COLLATOR = CausalLMDataCollator(TokenizerFactory.train_character(documents=["abc"]))


def stream(tokens: int) -> TokenStream:
    """Return tokens 10, 11, ... of two bytes each, where every fourth begins a word."""
    return TokenStream(
        tokens=np.arange(10, 10 + tokens, dtype=np.uint16),
        num_bytes=np.full(tokens, 2, dtype=np.uint16),
        num_words=(np.arange(tokens) % 4 == 0).astype(np.uint16),
        documents=1,
        text_sha256="",
    )


def order(seed: int = 1, start: int = 0, blocks: int = 7) -> list[list[tuple[int, int]]]:
    sampler = TrainingOrder(blocks, micro_batch=3, seed=seed, start=start)
    return list(islice(sampler, 20))


def test_blocks_cut_the_stream_and_say_what_is_left_over() -> None:
    training = Blocks(stream(23), content=5, keep_rest=False)
    assert len(training) == 4 and training.dropped == 3
    evaluation = Blocks(stream(23), content=5, keep_rest=True)
    assert len(evaluation) == 5 and evaluation.dropped == 0
    joined = np.concatenate([evaluation[(0, i)]["input_ids"] for i in range(5)])
    assert joined.tolist() == list(range(10, 33))


def test_framing_adds_tokens_without_bytes() -> None:
    block = Blocks(stream(10), content=5, frame=([1], [2]), keep_rest=False)[(0, 1)]
    assert block["input_ids"].tolist() == [1, 15, 16, 17, 18, 19, 2]
    assert block["num_bytes"].tolist() == [0, 2, 2, 2, 2, 2, 0]
    assert block["words"] == 1 and block["example_id"] == (0, 1)


def test_each_pass_shows_every_block_once_in_another_order() -> None:
    keys = [key for batch in order() for key in batch]
    passes = [[index for epoch, index in keys if epoch == e] for e in range(8)]
    assert all(sorted(indices) == list(range(7)) for indices in passes)
    assert len({tuple(indices) for indices in passes}) > 1


def test_order_is_a_function_of_seed_and_position() -> None:
    assert order() == order()
    assert order() != order(seed=2)
    assert order(start=18)[:10] == order()[6:16]  # six micro-batches of three blocks


def test_permutation_is_the_documented_one() -> None:
    """A change here changes every run that is resumed or repeated: it needs a note in CHANGELOG."""
    assert permutation(8, seed=42, epoch=0).tolist() == [4, 1, 3, 6, 0, 7, 2, 5]


def test_full_batch_has_no_mask_and_a_short_row_has_one() -> None:
    blocks = Blocks(stream(12), content=5, keep_rest=True)
    full = assemble([blocks[(0, 0)], blocks[(0, 1)]], collator=COLLATOR, framing=0)
    assert set(full.inputs) == {"input_ids", "labels"}
    ragged = assemble([blocks[(0, 0)], blocks[(0, 2)]], collator=COLLATOR, framing=0)
    assert ragged.inputs["attention_mask"].tolist() == [[1] * 5, [1, 1, 0, 0, 0]]
    assert ragged.num_bytes.tolist() == [[2] * 5, [2, 2, 0, 0, 0]]
    assert (ragged.tokens, ragged.words) == (7, 2 + 0 + (10 % 4 == 0))


def test_evaluation_sees_every_token_once() -> None:
    blocks = Blocks(stream(23), content=5, keep_rest=True)
    seen: Counter[int] = Counter()
    for batch in evaluation_batches(blocks, COLLATOR, batch_size=2):
        mask = batch.inputs.get("attention_mask", torch.ones_like(batch.inputs["input_ids"]))
        seen.update(batch.inputs["input_ids"][mask.bool()].tolist())
    assert seen == Counter(range(10, 33))


def test_making_batches_leaves_the_global_generator_alone() -> None:
    blocks = Blocks(stream(23), content=5, keep_rest=True)
    before = torch.get_rng_state()
    list(evaluation_batches(blocks, COLLATOR, batch_size=2))
    next(training_batches(blocks, COLLATOR, micro_batch=2, seed=1))
    assert torch.equal(before, torch.get_rng_state())
