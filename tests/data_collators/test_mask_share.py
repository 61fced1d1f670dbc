"""The share of hidden tokens over a run: by formula, measured, and the same for any workers."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model_foundry.data.batches.examples import Examples, Ragged
from model_foundry.data.batches.loaders import Batch, evaluation_batches, training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.data_collators import MaskedLMDataCollator
from model_foundry.objectives.preparation import objective_of, prepare
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import tiny_experiment

FIRST, LAST = 0.4, 0.1
CHANGING = (f"training.mlm_probability={FIRST}", f"training.mlm_probability_end={LAST}")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_wordpiece(documents=["the quick brown fox"], vocab_size=40)


def rows(tokenizer: PreTrainedTokenizerFast, progress: float) -> Examples:
    draw = np.random.default_rng(1)
    ids = [draw.integers(5, len(tokenizer), 500) for _ in range(60)]
    starts = [draw.random(500) < 0.5 for _ in ids]
    return Examples(
        keys=[(0, index) for index in range(60)],
        columns={"input_ids": Ragged.of(ids), "word_starts": Ragged.of(starts)},
        counts={},
        progress=progress,
    )


@pytest.mark.parametrize("masking", ["token", "word", "span"])
@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.4), (0.5, 0.25), (1.0, 0.1)])
def test_the_share_changes_linearly(
    tokenizer: PreTrainedTokenizerFast, masking: str, progress: float, share: float
) -> None:
    collator = MaskedLMDataCollator(
        tokenizer, mlm_probability=FIRST, mlm_probability_end=LAST, masking=masking
    )
    assert collator.share_at(progress) == pytest.approx(share, rel=1e-12)
    labels = collator.collate(rows(tokenizer, progress))["labels"]
    assert float((labels != -100).double().mean()) == pytest.approx(share, abs=0.012)


def test_without_an_end_the_share_stays(tokenizer: PreTrainedTokenizerFast) -> None:
    collator = MaskedLMDataCollator(tokenizer, mlm_probability=FIRST)
    first, last = (collator.collate(rows(tokenizer, progress)) for progress in (0.0, 1.0))
    assert all(torch.equal(first[name], last[name]) for name in first)


def batches_of(
    directory: Path, *, start: int = 0, workers: int = 0, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield the micro-batches of a run of eleven steps of two micro-batches."""
    prepared = prepare(tiny_experiment("bert", directory, *CHANGING))
    share = BatchSplit(
        micro_batch=2 // world_size, rows_per_step=4, rank=rank, world_size=world_size
    )
    batches = training_batches(
        prepared.train,
        prepared.collate,
        share,
        seed=5,
        steps=range(start, 11),
        workers=workers,
    )
    with closing(batches):
        yield from islice(batches, (11 - start) * 2)


@pytest.mark.slow
def test_masks_are_those_of_the_step_however_a_run_is_cut(tmp_path: Path) -> None:
    whole = list(batches_of(tmp_path))
    labels = [batch.inputs["labels"] for batch in whole]
    resumed = [batch.inputs["labels"] for batch in batches_of(tmp_path, start=6)]
    prefetched = [batch.inputs["labels"] for batch in batches_of(tmp_path, workers=2)]
    ranks = [list(batches_of(tmp_path, rank=rank, world_size=2)) for rank in (0, 1)]
    assert all(map(torch.equal, labels[12:], resumed))
    assert all(map(torch.equal, labels, prefetched)) and len(prefetched) == len(labels)
    by_key = {
        (number // 2, key): batch.inputs["labels"][row]
        for number, batch in enumerate(whole)
        for row, key in enumerate(batch.keys)
    }
    for batches in ranks:
        for number, batch in enumerate(batches):
            for row, key in enumerate(batch.keys):
                assert torch.equal(batch.inputs["labels"][row], by_key[number // 2, key])


def test_evaluations_keep_their_share(tmp_path: Path) -> None:
    plain = tiny_experiment("bert", tmp_path, CHANGING[0])
    changing = tiny_experiment("bert", tmp_path, *CHANGING)
    found = []
    for config in (plain, changing):
        prepared = prepare(config)
        batches = evaluation_batches(prepared.validation, prepared.evaluating, batch_size=8)
        found.append([batch.inputs["labels"] for batch in batches])
    assert all(map(torch.equal, *found)) and len(found[0]) > 1


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (CHANGING, "about 40% of the tokens that are not special at the first step, 10% at the "),
        (CHANGING[:1], "about 40% of the tokens that are not special, drawn again in each pass"),
        ((*CHANGING, "training.mlm_eval_probability=0.2"), "; 20% in evaluations"),
    ],
)
def test_the_account_of_the_data_says_so(
    settings: tuple[str, ...], rule: str, tmp_path: Path
) -> None:
    assert rule in objective_of(tiny_experiment("bert", tmp_path, *settings)).prediction_rule
