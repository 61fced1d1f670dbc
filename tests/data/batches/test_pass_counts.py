"""Counts of a pass, compared with the batches of the loaders."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from model_foundry.config import ExperimentConfig
from model_foundry.corpus_report import SplitFigures, build_report
from model_foundry.data.batches.loaders import Batch, evaluation_batches, training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.objectives.preparation import Prepared, prepare
from tests.data.streams import row_of
from tests.experiments import tiny_experiment

SENTENCES = "data.train={language: {sentences: 60}}"
PACKINGS = {
    "blocks": ("data.packing=blocks",),
    "blocks of fewer tokens": ("data.packing=blocks", "data.content_tokens=11"),
    "documents": ("data.packing=documents",),
    "documents with context": ("data.packing=documents", "data.document_overlap=3"),
    "streams": ("data.packing=streams", "training.gradient_accumulation_steps=2"),
}
CARRIED = ("data.packing=streams", "training.carry_state=true")


def batches_of_a_pass(config: ExperimentConfig, prepared: Prepared) -> list[Batch]:
    """Return the batches of one pass over the training text."""
    rows, per_step = prepared.train, config.training.rows_per_step
    if config.data.packing != "streams":
        return list(evaluation_batches(rows, prepared.collate, batch_size=4))
    batches = training_batches(
        rows,
        prepared.collate,
        BatchSplit(micro_batch=4, rows_per_step=per_step),
        seed=0,
        streams=True,
    )
    return list(islice(batches, len(rows) // per_step * per_step // 4))


def examined(
    kind: str, directory: Path, *overrides: str
) -> tuple[ExperimentConfig, Prepared, SplitFigures, SplitFigures]:
    config = tiny_experiment(
        kind, directory, SENTENCES, "data.preprocessing_num_workers=0", *overrides
    )
    prepared = prepare(config)
    train, validation = build_report(config, prepared).splits
    return config, prepared, train, validation


def maskable(rows: TokenExamples, keys: list[tuple[int, int]], special: list[int]) -> int:
    """Count the tokens of rows that a masked objective may hide."""
    total = 0
    for key in keys:
        row = row_of(rows, key)
        context = row.get("is_context", np.zeros(len(row["input_ids"]), bool))
        total += int((~np.isin(row["input_ids"], special) & ~context).sum())
    return total


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_each_token_is_in_a_row_or_left_over(tmp_path: Path, packing: str, kind: str) -> None:
    config, prepared, train, validation = examined(kind, tmp_path, *PACKINGS[packing])
    batches = batches_of_a_pass(config, prepared)
    counted = train.tokens
    assert counted.framed == len(prepared.train.stream)
    assert counted.adds_up and validation.tokens.adds_up
    assert counted.rows == sum(len(batch.keys) for batch in batches)
    once = sum(batch.counts["tokens"] for batch in batches)
    assert once == counted.in_rows - counted.repeated
    assert once + sum(counted.left_over.values()) == counted.framed
    read = sum(
        len(row_of(prepared.train, key)["input_ids"]) for batch in batches for key in batch.keys
    )
    assert read == counted.in_rows + counted.framing
    assert validation.tokens.left_over == {}


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_targets_of_a_causal_pass_are_counted(tmp_path: Path, packing: str) -> None:
    config, prepared, train, validation = examined("gpt2", tmp_path, *PACKINGS[packing])
    batches = batches_of_a_pass(config, prepared)
    scored = sum(int(prepared.objective.scored(b.inputs["labels"]).sum()) for b in batches)
    assert train.predicted == scored
    others = evaluation_batches(prepared.validation, prepared.collate, batch_size=4)
    scored = sum(int(prepared.objective.scored(b.inputs["labels"]).sum()) for b in others)
    assert validation.predicted == scored


@pytest.mark.parametrize("length", [16, 20])
def test_a_carried_state_predicts_all_but_the_first_token(tmp_path: Path, length: int) -> None:
    settings = (*CARRIED, f"data.max_sequence_length={length}")
    config, prepared, train, _ = examined("lstm", tmp_path, *settings)
    batches = batches_of_a_pass(config, prepared)
    scored = sum(int(prepared.objective.scored(b.inputs["labels"]).sum()) for b in batches)
    assert train.predicted == scored


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_masked_pass_predicts_its_share_of_tokens(tmp_path: Path, packing: str) -> None:
    config, prepared, train, _ = examined("bert", tmp_path, *PACKINGS[packing])
    keys = [key for batch in batches_of_a_pass(config, prepared) for key in batch.keys]
    special = prepared.tokenizer.all_special_ids
    assert train.predicted == round(0.15 * maskable(prepared.train, keys, special))


def test_streams_name_the_blocks_that_fill_no_lane(tmp_path: Path) -> None:
    settings = ("data.packing=streams", "training.per_device_train_batch_size=3")
    _, prepared, train, _ = examined("gpt2", tmp_path, *settings)
    blocks = len(prepared.train)
    assert blocks % 3 != 0  # else there is nothing to name
    assert train.tokens.left_over["blocks that fill no lane"] == blocks % 3 * 16
    assert train.tokens.rows == blocks - blocks % 3
