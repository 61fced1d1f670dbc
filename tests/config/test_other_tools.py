"""Settings of other programs: each is answered with ours, or with the reason why there is none."""

import dataclasses
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from model_foundry.config import ExperimentConfig
from model_foundry.config.error_messages import _all_keys, _remedy
from model_foundry.config.other_tools import ABSENT, OURS, VALUES

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
        *("seed", "name", "train", "layers", "num_layers", "steps", "model_type", "epsilon")
    }


def test_no_value_of_ours_is_one_of_another_program() -> None:
    assert set(VALUES).isdisjoint(VALUES.values())


def test_one_section_alone_knows_them_too() -> None:
    class Small(BaseModel):
        learning_rate: float

    assert "learning_rate" in _remedy("", "lr", Small)
