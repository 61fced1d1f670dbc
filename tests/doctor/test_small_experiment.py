"""The small experiment that the doctor trains: its model without dropout."""

from typing import Any

import pytest

from model_foundry.architectures import create_model_from_config
from model_foundry.doctor.small_experiment import without_dropout
from tests.architectures.model_types import IDS, SIZES, V, random_ids, tiny


@pytest.mark.parametrize(
    ("model_type", "head"), [("bart", "seq2seq"), ("t5", "seq2seq"), ("gpt2", "causal")]
)
def test_a_type_of_transformers_computes_the_same_twice_in_training(
    model_type: str, head: str
) -> None:
    sizes = {name: size for name, size in SIZES[model_type].items() if "drop" not in name}
    config = tiny(model_type, head)
    same: list[bool] = []
    for change in (dict[str, Any], without_dropout):
        section = change(
            {"architecture": "huggingface", "huggingface": {"model_type": model_type} | sizes}
        )
        config.model = type(config.model).model_validate(section)
        model = create_model_from_config(config, vocab_size=V, **IDS).train()
        ids = random_ids(2, 9)
        losses = [model(input_ids=ids, labels=ids).loss for _ in range(2)]
        same.append(bool(losses[0] == losses[1]))
    assert same == [False, True]
