"""Settings that all tasks of labelled texts share."""

import json
from itertools import islice
from pathlib import Path

import pytest

from model_foundry.data.batches.loaders import training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.objectives.preparation import prepare
from tests.experiments import tiny_experiment

COLUMNS = {
    "token_classification": "{words: words, labels: tags}",
    "sequence_classification": "{text: words, label: label}",
}


@pytest.mark.parametrize("task", COLUMNS)
def test_the_texts_of_a_step_are_of_similar_lengths(task: str, tmp_path: Path) -> None:
    rows = [
        {
            "words": "dog " * n,
            "tags": "NOUN " * (n - 1) + "VERB",
            "label": "odd" if n % 2 else "even",
        }
        for n in [n % 9 + 1 for n in range(90)]
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    section = f"training.{task}"

    def padded(*more: str) -> int:
        data = [f"data.{split}={tmp_path / 'rows.jsonl'}" for split in ("train", "validation")]
        given = ["data.max_sequence_length=48", "tokenizer.vocab_size=264"]
        given += [f"training.objective={task}", f"{section}={COLUMNS[task]}", *more]
        prepared = prepare(tiny_experiment("bert", tmp_path, *data, *given))
        share = BatchSplit(micro_batch=9, rows_per_step=9)
        batches = training_batches(prepared.train, prepared.collate, share, seed=0)
        masks = [batch.inputs["attention_mask"] for batch in islice(batches, 10)]
        return sum(int((mask == 0).sum()) for mask in masks)

    assert padded() < 60
    assert padded(f"{section}.bucket_by_length=false") > 200
