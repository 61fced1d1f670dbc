"""Names that people bring along get the right one, or a sentence on why there is none."""

import dataclasses
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from model_foundry.config import ExperimentConfig
from model_foundry.config.error_messages import _all_keys, _remedy
from model_foundry.config.foreign_names import ABSENT, OURS, VALUES
from tests.config.test_error_messages import line_of

PLACES = ("", "training", "model", "data", "tokenizer", "model.transformer")


def foreign() -> Iterator[str]:
    from transformers import BertConfig, GPT2Config, TrainingArguments

    yield from (field.name for field in dataclasses.fields(TrainingArguments))
    yield from (*GPT2Config().to_dict(), *BertConfig().to_dict())


def test_every_name_of_the_classes_that_people_know_gets_an_answer() -> None:
    ours = {path.rpartition(".")[2] for path in _all_keys(ExperimentConfig)}
    unanswered = {
        (place, name)
        for name in foreign()
        for place in PLACES
        if name not in ours and "valid keys" in _remedy(place, name, ExperimentConfig)
    }
    assert unanswered == set()


def test_every_place_of_the_table_is_one() -> None:
    known = set(_all_keys(ExperimentConfig))
    places = {place.partition(":")[0] for places in OURS.values() for place in places}
    assert places <= known
    assert OURS.keys().isdisjoint(ABSENT)


@pytest.mark.parametrize("name", [*OURS, *ABSENT])
def test_no_entry_hides_a_setting_of_ours(name: str) -> None:
    own = {path for path in _all_keys(ExperimentConfig) if path.rpartition(".")[2] == name}
    places = {place.partition(":")[0] for place in OURS.get(name, ())}
    assert own <= places or name in {
        *("seed", "name", "train", "layers", "num_layers", "steps", "model_type")
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.lr=1", "training.lr: unknown key; did you mean 'learning_rate'?"),
        ("lr=1", "lr: unknown key; did you mean 'training.learning_rate'?"),
        ("Batch-Size=1", "did you mean 'training.per_device_train_batch_size'?"),
        ("training.num_train_epochs=1", "did you mean 'epochs'?"),
        ("training.block_size=8", "did you mean 'data.max_sequence_length'?"),
        ("training.fp16=true", "did you mean 'mixed_precision: fp16'?"),
        ("training.tf32=true", "did you mean 'training.speed.fp32_products: tf32'?"),
        ("model.transformer.n_layer=2", "did you mean 'layers'?"),
        ("model.transformer.n_embd=2", "did you mean 'hidden_size'?"),
        ("n_layer=2", "did you mean 'model.transformer.layers' or 'model.rnn.num_layers'?"),
        ("training.seed=1", "did you mean 'seed', at the top of the file?"),
        ("training.optimizer=adam", "there is no such setting: the optimizer is AdamW"),
        ("training.report_to=wandb", "there is no such setting: figures go to metrics.jsonl"),
        ("device=cuda", "there is no such setting: the device is chosen"),
        ("tokenizer.tokenizer_type=char", "did you mean 'character'?"),
        ("training.mixed_precision=bfloat16", "did you mean 'bf16'?"),
        ("training.mixed_precision=char", "got 'char'"),
    ],
)
def test_what_is_said(override: str, said: str) -> None:
    line = line_of(override)
    assert said in line
    assert "valid keys" not in line


def test_values_are_proposed_only_where_they_are_allowed() -> None:
    assert "did you mean" not in line_of("training.mixed_precision=char")
    assert set(VALUES).isdisjoint(VALUES.values())


def test_one_section_alone_knows_them_too() -> None:
    class Small(BaseModel):
        learning_rate: float

    assert "learning_rate" in _remedy("", "lr", Small)
