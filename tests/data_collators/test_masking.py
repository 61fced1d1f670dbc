"""Words and spans that are hidden together."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from model_foundry.data_collators import MaskedLMDataCollator
from model_foundry.data_collators.masking import draw_spans, draw_words, find_words
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

SHARE = 0.15
TEXT = "the quick brown fox jumps over the lazy dog and runs away from it"
Bools = NDArray[np.bool_]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_wordpiece(documents=[TEXT], vocab_size=60)


def features_of(
    tokenizer: PreTrainedTokenizerFast, *, rows: int, length: int, seed: int = 0, **columns: object
) -> list[dict[str, object]]:
    """Return framed rows of random tokens, in which words have two tokens on average."""
    draw = np.random.default_rng(seed)
    features: list[dict[str, object]] = []
    for index in range(rows):
        ids = draw.integers(5, len(tokenizer), length)
        ids[0], ids[-1] = tokenizer.cls_token_id, tokenizer.sep_token_id
        starts = draw.random(length) < 0.5
        features.append(
            {"input_ids": ids, "word_starts": starts, "example_id": (0, index), **columns}
        )
    return features


def groups_by_hand(starts: list[bool], breaks: list[bool]) -> list[list[int]]:
    """Return the tokens of each word; tokens at `breaks` belong to none."""
    groups: list[list[int]] = []
    open_group = False
    for place, (start, is_break) in enumerate(zip(starts, breaks, strict=True)):
        if is_break:
            open_group = False
        elif start or not open_group:
            groups.append([place])
            open_group = True
        else:
            groups[-1].append(place)
    return groups


@pytest.mark.parametrize("masking", ["word", "span"])
def test_the_tokens_of_a_word_have_one_fate(
    tokenizer: PreTrainedTokenizerFast, masking: str
) -> None:
    features = features_of(tokenizer, rows=40, length=120)
    for feature in features:  # a special token in the middle, which breaks the word it stands in
        feature["input_ids"][60] = tokenizer.sep_token_id
        feature["word_starts"][58:63] = False
    batch = MaskedLMDataCollator(tokenizer, masking=masking, mlm_probability=0.4)(features)
    fates = set()
    for row, feature in enumerate(features):
        ids, starts = feature["input_ids"], feature["word_starts"]
        groups = groups_by_hand(starts.tolist(), (ids < 5).tolist())
        assert sum(map(len, groups)) == 117
        for group in groups:
            labelled = batch["labels"][row, group] != -100
            read = batch["input_ids"][row, group]
            assert labelled.all() or not labelled.any()
            if labelled.all() and len(group) > 2:
                is_mask = read == tokenizer.mask_token_id
                assert is_mask.all() or not is_mask.any()
                fates.add("mask" if is_mask.all() else bool((read.numpy() == ids[group]).all()))
    assert fates == {"mask", True, False}


@pytest.mark.parametrize(("masking", "agreement"), [("word", 0.8**2 + 0.2**2), ("span", 1.0)])
def test_the_words_of_a_span_have_one_fate(
    tokenizer: PreTrainedTokenizerFast, masking: str, agreement: float
) -> None:
    starts = np.ones(1000, bool)
    features = features_of(tokenizer, rows=60, length=1000, word_starts=starts)
    collator = MaskedLMDataCollator(
        tokenizer, masking=masking, mlm_probability=0.05, span_length=10
    )
    batch = collator(features)
    hidden, is_mask = batch["labels"] != -100, batch["input_ids"] == tokenizer.mask_token_id
    neighbours = hidden[:, 1:] & hidden[:, :-1]
    agree = (is_mask[:, 1:] == is_mask[:, :-1])[neighbours].float().mean().item()
    # neighbours are of one span, but for two spans that happen to touch
    assert agree == pytest.approx(agreement, abs=0.08)


@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_groups_are_hidden_80_10_10(tokenizer: PreTrainedTokenizerFast, masking: str) -> None:
    features = features_of(tokenizer, rows=150, length=800)
    batch = MaskedLMDataCollator(tokenizer, masking=masking)(features)
    ids = torch.from_numpy(np.stack([feature["input_ids"] for feature in features]))
    hidden = batch["labels"] != -100
    assert not hidden[:, [0, -1]].any()  # special tokens
    assert torch.equal(batch["labels"][hidden], ids[hidden])
    assert torch.equal(batch["input_ids"][~hidden], ids[~hidden])
    read = batch["input_ids"][hidden]
    shares = [
        (read == tokenizer.mask_token_id).float().mean(),
        (read == ids[hidden]).float().mean(),
    ]
    ordinary = len(tokenizer) - 5  # a random token is the original one time in the vocabulary
    assert torch.stack(shares).tolist() == pytest.approx([0.8, 0.1 + 0.1 / ordinary], abs=0.025)
    assert not (set(read.tolist()) & set(tokenizer.all_special_ids)) - {tokenizer.mask_token_id}


@pytest.mark.parametrize("share", [0.05, SHARE, 0.5])
@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_the_expected_share_is_hidden(
    tokenizer: PreTrainedTokenizerFast, masking: str, share: float
) -> None:
    features = features_of(tokenizer, rows=300, length=402)
    collator = MaskedLMDataCollator(tokenizer, masking=masking, mlm_probability=share)
    hidden = (collator(features)["labels"] != -100).float().sum(1) / 400  # two tokens are special
    standard_error = hidden.std().item() / math.sqrt(len(features))
    assert abs(hidden.mean().item() - share) < 3 * standard_error
    assert standard_error < 0.003


@pytest.mark.parametrize("sizes", [[4], [1, 9], [5, 5, 5], [2, 1, 7, 1]])
@pytest.mark.parametrize("mean", [1.0, 3.0])
def test_the_expected_share_of_spans_is_exact_in_short_rows_too(
    sizes: list[int], mean: float
) -> None:
    generator = np.random.default_rng(0)
    is_adjacent = [False] + [True] * (len(sizes) - 1)
    hidden = np.array(
        [
            sum(np.array(sizes)[draw_spans(sizes, is_adjacent, SHARE, mean, generator) >= 0])
            for _ in range(4000)
        ]
    )
    error = abs(hidden.mean() - SHARE * sum(sizes))
    assert error < 3 * hidden.std() / math.sqrt(len(hidden))


def test_a_word_keeps_within_the_budget_of_its_row() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        sizes = generator.integers(1, 5, 60)
        is_adjacent = generator.random(60) < 0.9
        hidden = draw_spans(sizes.tolist(), is_adjacent.tolist(), 0.3, 3.0, generator) >= 0
        assert abs(sizes[hidden].sum() - 0.3 * sizes.sum()) < sizes.max()


def lengths_of(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the words of each span, after checking that it is contiguous."""
    for span in set(spans[spans >= 0].tolist()):
        places = (spans == span).nonzero()[0]
        assert places[-1] - places[0] + 1 == len(places)
    return np.unique(spans[spans >= 0], return_counts=True)[1]


@pytest.mark.parametrize("mean", [1.0, 3.0, 8.0])
def test_spans_are_geometric_in_words_and_cut_at_ten(mean: float) -> None:
    number, p = 200_000, 1 / mean
    spans = draw_spans([1] * number, [True] * number, 0.02, mean, np.random.default_rng(0))
    lengths = lengths_of(spans)
    expected = [(1 - p) ** (length - 1) * p for length in range(1, 10)] + [(1 - p) ** 9]
    shares = np.bincount(lengths, minlength=11)[1:] / len(lengths)
    assert lengths.max() <= 10
    # some end early at another span
    assert shares.tolist() == pytest.approx(expected, abs=0.03)


def test_spans_end_at_breaks() -> None:
    generator = np.random.default_rng(0)
    is_adjacent = generator.random(3000) < 0.6
    spans = draw_spans([1] * 3000, is_adjacent.tolist(), 0.5, 4.0, generator)
    inside = spans[1:] == spans[:-1]
    assert is_adjacent[1:][inside & (spans[1:] >= 0)].all()
    assert lengths_of(spans).max() > 2


def test_words_of_all_lengths_are_hidden_equally() -> None:
    groups = np.stack([draw_words(3, SHARE, np.random.default_rng(seed)) for seed in range(4000)])
    assert set(np.unique(groups)) == {-1, 0, 1, 2}
    assert (groups >= 0).mean(0).tolist() == pytest.approx([SHARE] * 3, abs=0.02)


def test_words_end_with_their_document_and_before_special_tokens() -> None:
    words = find_words(
        np.array([0, 1, 0, 0, 0, 0, 1, 1, 0, 0], bool),
        maskable=np.array([1, 1, 1, 0, 1, 1, 1, 1, 1, 1], bool),
        begins=np.array([1, 0, 0, 0, 0, 0, 0, 0, 1, 0], bool),
        bounds=np.array([0, 7, 10]),
    )
    # x | x x | special | x x | x || x | x x
    assert words.of_token.tolist() == [0, 1, 1, 2, 2, 3, 4, 5, 5]
    assert words.sizes.tolist() == [1, 2, 2, 1, 1, 2]
    assert words.is_adjacent.tolist() == [False, True, False, True, True, False]
    assert words.bounds.tolist() == [0, 4, 6]


@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_context_is_neither_hidden_nor_labelled(
    tokenizer: PreTrainedTokenizerFast, masking: str
) -> None:
    context = np.arange(102) < 41
    features = features_of(tokenizer, rows=300, length=102, is_context=context)
    batch = MaskedLMDataCollator(tokenizer, masking=masking)(features)
    ids = torch.from_numpy(np.stack([feature["input_ids"] for feature in features]))
    assert (batch["labels"][:, :41] == -100).all()
    assert torch.equal(batch["input_ids"][:, :41], ids[:, :41])
    share = (batch["labels"][:, 41:101] != -100).float().mean().item()
    assert share == pytest.approx(SHARE, abs=0.015)  # of what may be hidden


@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_masks_follow_from_seed_pass_and_example(
    tokenizer: PreTrainedTokenizerFast, masking: str
) -> None:
    one, two = features_of(tokenizer, rows=2, length=60)

    def labels(seed: int, *features: dict[str, object]) -> list[list[int]]:
        collator = MaskedLMDataCollator(tokenizer, masking=masking, seed=seed)
        return collator(features)["labels"].tolist()

    both = labels(7, one, two)
    assert labels(7, two, one) == both[::-1]  # whatever else is in the batch
    assert labels(7, one) == both[:1]
    assert labels(7, {**one, "example_id": (1, 0)}) != both[:1] != labels(8, one)


@pytest.mark.parametrize("masking", ["word", "span"])
def test_rows_with_nothing_to_hide_stay_as_they_are(
    tokenizer: PreTrainedTokenizerFast, masking: str
) -> None:
    rows = [{"input_ids": [2, 3], "word_starts": [True, True]}] * 2
    collator = MaskedLMDataCollator(tokenizer, masking=masking)
    assert (collator(rows)["labels"] == -100).all()
    long = {"input_ids": [2, *[7] * 50, 3], "word_starts": [True] * 52}
    assert (collator([rows[0], long, rows[0]])["labels"][1] != -100).any()


@pytest.mark.parametrize("masking", ["word", "span"])
def test_rows_need_word_starts(tokenizer: PreTrainedTokenizerFast, masking: str) -> None:
    with pytest.raises(ValueError, match=rf"mlm_masking '{masking}'.*`word_starts`.*'token'"):
        MaskedLMDataCollator(tokenizer, masking=masking)([{"input_ids": [2, 7, 3]}])
    with pytest.raises(ValueError, match=r"span_length must be at least 1, got 0\.5"):
        MaskedLMDataCollator(tokenizer, masking=masking, span_length=0.5)


def test_token_masks_never_change(tokenizer: PreTrainedTokenizerFast) -> None:
    # (place, id that is read) of what is hidden: a resumed run must find the same masks
    rows = [{"input_ids": list(range(5, 45)), "example_id": (0, index)} for index in range(2)]
    batch = MaskedLMDataCollator(tokenizer, seed=7)(rows)
    hidden = [(labels != -100).nonzero()[:, 0].tolist() for labels in batch["labels"]]
    assert hidden == [[6, 23, 24, 32, 37], [10, 14, 18, 19, 20, 22, 26, 30, 31, 34]]
    read = [ids[at].tolist() for ids, at in zip(batch["input_ids"], hidden, strict=True)]
    assert read == [[4, 4, 4, 13, 42], [15, 4, 4, 4, 4, 4, 36, 4, 4, 4]]
