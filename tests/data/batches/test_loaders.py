"""Blocks and batches: each token once, and each row in its place."""

from collections import Counter
from contextlib import closing
from itertools import islice
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch

from model_foundry.data.batches.loaders import (
    Batch,
    batch_digest,
    evaluation_batches,
    evaluation_streams,
    training_batches,
)
from model_foundry.data.batches.order import BatchSplit, Key
from model_foundry.data.batches.token_examples import Blocks, PackedDocuments, TokenExamples
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.data_collators import CausalLMDataCollator
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.data.streams import collating, row_of, stream_of
from tests.waiting import wait_until

COLLATOR = CausalLMDataCollator(TokenizerFactory.train_character(documents=["abc"]))
COLLATE = collating(COLLATOR)
TWO_ROWS = BatchSplit(micro_batch=2, rows_per_step=2)


def stream(tokens: int) -> TokenStream:
    """Return tokens 10, 11, ... of two bytes each, of which every fourth begins a word."""
    return stream_of(np.arange(10, 10 + tokens), 2, np.arange(tokens) % 4 == 0)


def test_blocks_cover_the_stream_but_for_the_rest() -> None:
    training = Blocks(stream(23), content=5, keep_rest=False)
    assert len(training) == 4 and training.dropped == 3
    evaluation = Blocks(stream(23), content=5, keep_rest=True)
    assert len(evaluation) == 5 and evaluation.dropped == 0
    joined = np.concatenate([row_of(evaluation, (0, i))["input_ids"] for i in range(5)])
    assert joined.tolist() == list(range(10, 33))


def test_framing_adds_tokens_without_bytes() -> None:
    blocks = Blocks(stream(10), content=5, frame=([1], [2]), keep_rest=False)
    block = row_of(blocks, (0, 1))
    assert block["input_ids"].tolist() == [1, 15, 16, 17, 18, 19, 2]
    assert block["num_bytes"].tolist() == [0, 2, 2, 2, 2, 2, 0]
    assert block["words"] == 1 and block["example_id"] == (0, 1)


def test_full_batch_has_no_mask_and_a_short_row_has_one() -> None:
    blocks = Blocks(stream(12), content=5, keep_rest=True)
    full = COLLATE(blocks.read([(0, 0), (0, 1)]))
    assert set(full) == {"input_ids", "labels"}
    examples = blocks.read([(0, 0), (0, 2)], evaluating=True)
    ragged = COLLATE(examples)
    assert ragged["attention_mask"].tolist() == [[1] * 5, [1, 1, 0, 0, 0]]
    assert ragged["scored_bytes"].tolist() == [[0, 2, 2, 2, 2], [0, 2, 0, 0, 0]]
    assert examples.counts == {"tokens": 7, "words": 2 + 0 + (10 % 4 == 0)}


def test_evaluation_sees_every_token_once() -> None:
    blocks = Blocks(stream(23), content=5, keep_rest=True)
    seen: Counter[int] = Counter()
    for batch in evaluation_batches(blocks, COLLATE, batch_size=2):
        mask = batch.inputs.get("attention_mask", torch.ones_like(batch.inputs["input_ids"]))
        seen.update(batch.inputs["input_ids"][mask.bool()].tolist())
    assert seen == Counter(range(10, 33))


@pytest.mark.parametrize("processes", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("tokens", [3, 23, 60])
def test_processes_evaluate_the_batches_of_one(tokens: int, processes: int) -> None:
    blocks = Blocks(stream(tokens), content=5, keep_rest=True)

    def keys(**share: int) -> list[list[Key]]:
        batches = evaluation_batches(blocks, COLLATE, batch_size=2, **share)
        return [batch.keys for batch in batches]

    shares = [keys(rank=rank, world_size=processes) for rank in range(processes)]
    assert sorted(batch for share in shares for batch in share) == keys()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_to_train_on_reads_no_bytes() -> None:
    blocks = Blocks(stream(23), content=5, keep_rest=False)
    batch = next(training_batches(blocks, COLLATE, TWO_ROWS, seed=1))
    assert set(batch.inputs) == {"input_ids", "labels"}
    (first, *_) = evaluation_batches(blocks, COLLATE, batch_size=2)
    assert set(first.inputs) == {"input_ids", "labels", "scored_bytes"}


def test_counts_end_with_the_last_pass_that_counts() -> None:
    blocks = Blocks(stream(15), content=5, keep_rest=False)  # three, two of which make a step
    batches = training_batches(blocks, COLLATE, TWO_ROWS, seed=1, passes=1)
    first, second, third = islice(batches, 3)
    assert [each.counts["tokens"] for each in (first, second, third)] == [10, 5, 0]
    assert first.counts["words"] + second.counts["words"] == blocks.totals["words"]
    assert all(len(each.keys) == len(each.inputs["labels"]) == 2 for each in (second, third))


def test_labels_do_not_share_memory_with_ids() -> None:
    blocks = Blocks(stream(23), content=5, keep_rest=False)
    batch = next(training_batches(blocks, COLLATE, TWO_ROWS, seed=1))
    labels = batch.inputs["labels"].clone()
    batch.inputs["input_ids"].zero_()
    assert torch.equal(batch.inputs["labels"], labels)


@pytest.mark.parametrize(
    "cut",
    [
        Blocks(stream(23), content=5, keep_rest=True),
        Blocks(stream(20), content=5, keep_rest=True, frame=([1], [2])),
        PackedDocuments(stream(23), length=8, overlap=2),
    ],
)
def test_a_function_of_dictionaries_collates_the_same_batches(cut: TokenExamples) -> None:
    examples = cut.read([(0, index) for index in range(len(cut))], evaluating=True)
    own = COLLATE(examples)
    plain = collating(lambda features: COLLATOR(features))(examples)
    assert own.keys() == plain.keys() >= {"scored_bytes"}
    assert all(torch.equal(own[name], plain[name]) for name in own)


def test_a_collator_with_a_call_of_its_own_is_called() -> None:
    class Shouting(CausalLMDataCollator):
        def __call__(self, features: Any) -> dict[str, torch.Tensor]:
            return super().__call__([{**f, "input_ids": f["input_ids"] + 100} for f in features])

    collator = Shouting(TokenizerFactory.train_character(documents=["abc"]))
    blocks = Blocks(stream(5), content=5, keep_rest=True)
    (batch,) = evaluation_batches(blocks, collating(collator), batch_size=2)
    assert batch.inputs["input_ids"].tolist() == [[*range(110, 115)]]


# --- the digest -----------------------------------------------------------------------------------


def given(**inputs: torch.Tensor) -> Batch:
    number = len(next(iter(inputs.values())))
    return Batch(inputs, {}, [(0, index) for index in range(number)])


IDS = torch.arange(12).view(4, 3)
PIXELS = torch.arange(24.0).view(4, 2, 3)


@pytest.mark.parametrize(
    "other",
    [
        given(idt=IDS, pixels=PIXELS),  # another name
        given(ids=IDS),
        given(ids=IDS, pixels=PIXELS, mask=IDS),
        given(ids=IDS, pixels=PIXELS.view(4, 3, 2)),  # another shape
        given(ids=IDS, pixels=PIXELS + (PIXELS == 23)),  # another value
        given(ids=IDS.flip(0), pixels=PIXELS.flip(0)),  # another order
        given(ids=IDS, pixels=PIXELS.double()),
    ],
)
def test_the_digest_covers_name_shape_and_value_of_each_input(other: Batch) -> None:
    assert batch_digest([other]) != batch_digest([given(ids=IDS, pixels=PIXELS)])


@pytest.mark.parametrize("cuts", [[4], [1, 3], [1, 1, 1, 1], [2, 2]])
def test_the_digest_does_not_depend_on_the_division_into_micro_batches(cuts: list[int]) -> None:
    """Nor on the order of the names, nor on how the tensors lie in memory."""
    parts = [
        given(pixels=pixels.mT.contiguous().mT, ids=ids)
        for ids, pixels in zip(IDS.split(cuts), PIXELS.split(cuts), strict=True)
    ]
    assert batch_digest(parts) == batch_digest([given(ids=IDS, pixels=PIXELS)])


def test_the_digest_covers_numbers_that_numpy_does_not_know() -> None:
    halves = PIXELS.bfloat16()
    assert batch_digest([given(x=halves)]) == batch_digest([given(x=halves.view(torch.int16))])
    assert batch_digest([given(x=halves)]) != batch_digest([given(x=halves + (PIXELS == 23))])


# --- workers --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_worker_processes_make_the_same_batches() -> None:
    def first(workers: int) -> list[Batch]:
        blocks = Blocks(stream(60), content=5, keep_rest=False)
        batches = training_batches(blocks, COLLATE, TWO_ROWS, seed=1, workers=workers)
        with closing(batches):
            return list(islice(batches, 9))

    for alone, made in zip(first(0), first(2), strict=True):
        assert batch_digest([alone]) == batch_digest([made])
        assert (alone.keys, alone.counts, alone.begins) == (made.keys, made.counts, made.begins)


@pytest.mark.slow
def test_a_worker_process_makes_batches_before_they_are_asked_for() -> None:
    made = get_context("fork").Value("i", 0)

    def counting(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        with made.get_lock():
            made.value += 1
        return COLLATOR(features)

    blocks = Blocks(stream(60), content=5, keep_rest=False)
    batches = training_batches(blocks, collating(counting), TWO_ROWS, seed=1, workers=1)
    with closing(batches):
        next(batches)
        wait_until(lambda: made.value >= 3)  # one was asked for


@pytest.mark.slow
def test_making_batches_leaves_the_global_generator_alone() -> None:
    blocks = Blocks(stream(23), content=5, keep_rest=True)
    before = torch.get_rng_state()
    list(evaluation_batches(blocks, COLLATE, batch_size=2))
    for workers in (0, 1):
        batches = training_batches(blocks, COLLATE, TWO_ROWS, seed=1, workers=workers)
        with closing(batches):
            next(batches)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("total", "start", "expected"),
    [
        (5, 0, [0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]),
        (5, 3, [0.75, 0.75, 1.0, 1.0, 1.0, 1.0]),  # a prefetched step beyond the last
        (1, 0, [0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_collators_are_told_how_much_of_the_run_is_over(
    workers: int, total: int, start: int, expected: list[float]
) -> None:
    blocks = Blocks(stream(60), content=5, keep_rest=False)
    share = BatchSplit(micro_batch=2, rows_per_step=4)
    batches = training_batches(
        blocks,
        lambda examples: {"progress": torch.full((len(examples),), examples.progress)},
        share,
        seed=1,
        steps=range(start, total),
        workers=workers,
    )
    with closing(batches):
        told = [float(b.inputs["progress"][0]) for b in islice(batches, len(expected))]
    assert told == expected


# --- streams --------------------------------------------------------------------------------------


def streams(
    tokens: int, *, steps: int, share: BatchSplit = TWO_ROWS, start: int = 0
) -> list[Batch]:
    blocks = Blocks(stream(tokens), content=5, keep_rest=False, following=True)
    begun = range(start // share.rows_per_step, 9)
    batches = training_batches(blocks, COLLATE, share, seed=1, steps=begun, streams=True)
    return list(islice(batches, steps))


def test_the_token_that_follows_a_row_is_its_last_target() -> None:
    """23 tokens in two lanes of two blocks; the rest are no targets."""
    first, second, again = streams(23, steps=3)
    assert first.inputs["input_ids"].tolist() == [[*range(10, 15)], [*range(20, 25)]]
    assert first.inputs["labels"].tolist() == [[*range(10, 16)], [*range(20, 26)]]
    assert second.inputs["labels"].tolist() == [[*range(15, 21)], [*range(25, 30), -100]]
    assert again.inputs["input_ids"].tolist() == first.inputs["input_ids"].tolist()
    # what follows is counted in its own row
    assert first.counts == {"tokens": 10, "words": 2 + 1}


def test_nothing_follows_the_last_token_of_a_text() -> None:
    _, last = streams(20, steps=2)
    assert last.inputs["labels"][:, -1].tolist() == [20, -100]
    blocks = Blocks(stream(20), content=5, keep_rest=True, following=True)
    scored = COLLATE(blocks.read([(0, 0), (0, 3)], evaluating=True))
    assert scored["scored_bytes"].tolist() == [[0] + [2] * 5, [0] + [2] * 4 + [0]]


def test_a_batch_knows_if_its_rows_begin() -> None:
    assert [batch.begins for batch in streams(34, steps=7)] == [True, False, False] * 2 + [True]
    share = BatchSplit(micro_batch=1, rows_per_step=2, rank=1, world_size=2)
    begins = [batch.begins for batch in streams(34, steps=4, share=share)]
    assert begins == [True, False, False, True]
    assert [batch.begins for batch in streams(34, steps=3, start=4)] == [False, True, False]
    shuffled = Blocks(stream(34), content=5, keep_rest=False)
    batches = training_batches(shuffled, COLLATE, TWO_ROWS, seed=1)
    assert all(batch.begins for batch in islice(batches, 5))


@pytest.mark.parametrize("tokens", [3, 23, 160, 161, 164, 333])
def test_evaluated_streams_score_every_token_but_the_first_once(tokens: int) -> None:
    blocks = Blocks(stream(tokens), content=5, keep_rest=True, following=True)
    seen: Counter[int] = Counter()
    ends: list[int] = []
    for batch in evaluation_streams(blocks, COLLATE):
        seen.update(label for label in batch.inputs["labels"][:, 1:].flatten().tolist())
        rows = batch.inputs["input_ids"][:, 0].tolist()
        assert batch.begins == (not ends)
        assert batch.begins or rows == [end + 5 for end in ends[: len(rows)]]
        ends = rows
        labels = batch.inputs["labels"][:, 1:]
        assert int((batch.inputs["scored_bytes"] > 0).sum()) == int((labels != -100).sum())
    del seen[-100]
    assert seen == Counter(range(11, 10 + tokens))


@pytest.mark.parametrize("processes", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("tokens", [3, 23, 160, 164, 333])
def test_processes_evaluate_whole_lanes_and_each_row_once(tokens: int, processes: int) -> None:
    blocks = Blocks(stream(tokens), content=5, keep_rest=True, following=True)

    def lanes_of(**share: int) -> list[tuple[Key, ...]]:
        lanes: list[list[Key]] = []
        for place, batch in enumerate(evaluation_streams(blocks, COLLATE, **share)):
            assert batch.begins == (place == 0)
            lanes = lanes or [[] for _ in batch.keys]
            assert all(len(lane) == place for lane in lanes[: len(batch.keys)])
            for lane, key in zip(lanes, batch.keys, strict=False):
                lane.append(key)
        return [tuple(lane) for lane in lanes]

    shares = [lanes_of(rank=rank, world_size=processes) for rank in range(processes)]
    assert sorted(lane for share in shares for lane in share) == lanes_of()
    read = [key for share in shares for lane in share for key in lane]
    assert sorted(read) == [(0, index) for index in range(len(blocks))]


@pytest.mark.parametrize(
    ("blocks", "expected"), [(1, 1), (7, 1), (8, 2), (31, 7), (32, 8), (99, 8)]
)
def test_a_short_text_is_evaluated_in_fewer_lanes(blocks: int, expected: int) -> None:
    """Otherwise the rows without a past would have too much weight."""
    whole = Blocks(stream(5 * blocks), content=5, keep_rest=True, following=True)
    assert len(next(evaluation_streams(whole, COLLATE)).keys) == expected
