"""Span corruption: T5's form, its counts, and the text that it is made of."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model_foundry.config.seq2seq import SpanDenoisingConfig, span_counts
from model_foundry.data.batches.examples import Examples, Ragged
from model_foundry.data_collators import denoising
from model_foundry.data_collators.denoising import (
    SpanDenoisingCollator,
    draw_spans,
    first_of_spans,
    sentinels,
)
from model_foundry.errors import DataError
from model_foundry.tokenizer.special_tokens import with_tokens
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

TEXT = "Thank you for inviting me to your party last week ."
NAMES = sentinels(62, 0.15, 3.0)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    plain = TokenizerFactory.train("word", documents=[TEXT], vocab_size=40)
    return with_tokens(plain, NAMES)  # type: ignore[return-value]


def examples_of(rows: list[Any], *, epoch: int = 0, first: int = 0) -> Examples:
    ids = Ragged.of([np.asarray(row, np.int64) for row in rows])
    sizes = Ragged(ids.values % 7, ids.bounds)
    keys = [(epoch, first + index) for index in range(len(rows))]
    return Examples(keys=keys, columns={"input_ids": ids, "num_bytes": sizes}, counts={})


def rows_of(tokenizer: PreTrainedTokenizerFast, number: int) -> list[list[int]]:
    """Return framed rows of unequal lengths with the ends of documents in them."""
    draw = np.random.default_rng(0)
    words = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    rows = []
    for _ in range(number):
        ids = draw.choice(words, draw.integers(8, 60))
        ids[draw.random(len(ids)) < 0.1] = end
        rows.append([begin, *ids.tolist(), end])
    return rows


def rebuilt(read: list[int], written: list[int], marks: list[int]) -> list[int]:
    """Return the text of a row: each sentinel that is read is replaced by what follows it."""
    spans: dict[int, list[int]] = {}
    for token in written:
        if token in marks:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    return [each for token in read for each in spans.get(token, [token])]


def test_the_example_of_the_paper(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figure 2 of Raffel et al. 2020, with the end token of its code."""
    hidden = np.isin(np.arange(11), [2, 3, 8])
    monkeypatch.setattr(denoising, "draw_spans", lambda *given: hidden)
    collator = SpanDenoisingCollator(tokenizer, NAMES)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    batch = collator([{"input_ids": ids}])
    shown = [tokenizer.decode(batch[name][0]) for name in ("input_ids", "labels")]
    assert shown == [
        "Thank you <extra_id_0> me to your party <extra_id_1> week .",
        "<extra_id_0> for inviting <extra_id_1> last <extra_id_2> </s>",
    ]
    assert batch["attention_mask"].all()


def test_inputs_and_targets_rebuild_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = rows_of(tokenizer, 50)
    batch = SpanDenoisingCollator(tokenizer, NAMES, share=0.4).collate(examples_of(rows))
    marks = tokenizer.convert_tokens_to_ids(NAMES)
    for index, row in enumerate(rows):
        read = batch["input_ids"][index][batch["attention_mask"][index].bool()].tolist()
        labels = batch["labels"][index]
        *written, end = labels[labels != -100].tolist()
        used = [token for token in written if token in marks]
        assert used == marks[: len(used)] and written[-1] == used[-1]
        assert [token for token in read if token in marks] == used[:-1]
        assert end == tokenizer.eos_token_id and end not in written
        assert rebuilt(read, written, marks) == row
        hidden = [token for token in written if token not in marks]
        assert batch["num_bytes"][index].sum() == sum(token % 7 for token in hidden)


def test_numbers_of_tokens_and_spans_are_those_of_t5() -> None:
    """Its code: 77 of 512 tokens in 26 spans, by `random_spans_noise_mask`."""
    assert span_counts(512, 0.15, 3.0) == (77, 26)
    assert span_counts(2, 0.15, 3.0) == (1, 1)
    assert span_counts(4, 0.9, 1.0) == (3, 1)  # a visible token before each span
    assert len(sentinels(512, 0.15, 3.0)) == 53
    generator, counts = np.random.default_rng(0), np.zeros(512)
    lengths = []
    for _ in range(2000):
        hidden = draw_spans(512, 0.15, 3.0, generator)
        first = first_of_spans(hidden)
        is_cut = hidden[0] and hidden[-1]  # a span that lies at both ends of the ring
        assert (hidden.sum(), first.sum() - is_cut) == (77, 26)
        if not is_cut:
            lengths += np.diff(np.flatnonzero(np.append(first[hidden], True))).tolist()
        counts += hidden
    # all divisions of 77 tokens into 26 spans are equally likely: P(1) = 25 / 76
    assert np.mean(np.array(lengths) == 1) == pytest.approx(25 / 76, abs=0.01)
    parts = counts.reshape(16, 32).mean(1) / 2000
    assert parts == pytest.approx(np.full(16, 77 / 512), abs=0.01)  # each token equally often


@pytest.mark.parametrize(("share", "mean"), [(0.15, 3.0), (0.5, 1.0), (0.6, 1.0), (0.99, 1.0)])
def test_no_target_is_longer_than_the_settings_tell(
    tokenizer: PreTrainedTokenizerFast, share: float, mean: float
) -> None:
    draw, most = np.random.default_rng(0), 30
    rows = draw.choice(tokenizer("inviting me", add_special_tokens=False)["input_ids"], (300, most))
    rows[100:][draw.random((200, most)) < 0.2] = tokenizer.eos_token_id
    names = sentinels(most, share, mean)
    collator = SpanDenoisingCollator(tokenizer, names, share=share, mean=mean)
    longest = collator.collate(examples_of(list(rows)))["labels"].shape[1]
    told = SpanDenoisingConfig(hidden_share=share, mean_span_length=mean).longest_target(most)
    spans = span_counts(most, share, mean)[1]
    assert told - spans <= longest <= told


def test_a_row_is_the_same_in_any_batch_and_another_in_each_pass(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    rows = rows_of(tokenizer, 8)

    def labels(collator: SpanDenoisingCollator, size: int, epoch: int = 0) -> list[list[int]]:
        found = []
        for first in range(0, 8, size):
            part = examples_of(rows[first : first + size], epoch=epoch, first=first)
            found += [row[row != -100].tolist() for row in collator.collate(part)["labels"]]
        return found

    whole = labels(SpanDenoisingCollator(tokenizer, NAMES, seed=3), 8)
    assert labels(SpanDenoisingCollator(tokenizer, NAMES, seed=3), 2) == whole
    assert labels(SpanDenoisingCollator(tokenizer, NAMES, seed=3), 8, epoch=1) != whole
    assert labels(SpanDenoisingCollator(tokenizer, NAMES, seed=4), 8) != whole


def test_spans_without_a_sentinel_stay_visible(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = rows_of(tokenizer, 20)
    few = NAMES[:2]
    batch = SpanDenoisingCollator(tokenizer, few, share=0.5, mean=1.0).collate(examples_of(rows))
    marks = tokenizer.convert_tokens_to_ids(few)
    for index, row in enumerate(rows):
        labels = batch["labels"][index]
        *written, _ = labels[labels != -100].tolist()
        read = batch["input_ids"][index][: len(row)].tolist()
        assert sum(token in marks for token in read) == 1
        kept = batch["attention_mask"][index].sum()
        assert rebuilt(read[:kept], written, marks) == row


def test_tokens_that_the_row_before_had_stay_visible(tokenizer: PreTrainedTokenizerFast) -> None:
    row = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    given = examples_of([row])
    given.columns["is_context"] = Ragged(np.arange(len(row)) < 6, np.array([0, len(row)]))
    batch = SpanDenoisingCollator(tokenizer, NAMES, share=0.8).collate(given)
    assert batch["input_ids"][0, :6].tolist() == row[:6]
    written = batch["labels"][0].tolist()
    assert set(written) & set(row[6:])
    assert not set(written) & set(row[:6])


def test_a_text_of_one_token_is_left_as_it_is(tokenizer: PreTrainedTokenizerFast) -> None:
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    batch = SpanDenoisingCollator(tokenizer, NAMES)([{"input_ids": [begin, 6, end]}])
    assert batch["input_ids"].tolist() == [[begin, 6, end]]
    assert batch["labels"].tolist() == [[tokenizer.convert_tokens_to_ids(NAMES[0]), end]]


def test_without_an_end_token_it_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    endless = with_tokens(tokenizer, ["<other>"])
    endless.eos_token = None
    with pytest.raises(DataError, match="no eos or sep token, which ends a target"):
        SpanDenoisingCollator(endless, NAMES)


def test_sentinels_are_special_and_added_once(tokenizer: PreTrainedTokenizerFast) -> None:
    assert with_tokens(tokenizer, NAMES) is tokenizer
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(NAMES))
    assert ids.tolist() == list(range(len(tokenizer) - len(NAMES), len(tokenizer)))
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == ""
