"""Values of fields of transformers configurations: types in one line, plain numbers as they are."""

from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig, xLSTMConfig

from model_foundry.architectures.hub_values import with_plain_types
from model_foundry.errors import ConfigError


@pytest.mark.parametrize(
    ("hf_config_class", "field", "value", "message"),
    [
        (LlamaConfig, "hidden_size", "32", "an integer, got '32' (text); write it without quotes"),
        (LlamaConfig, "hidden_size", "wide", "an integer, got 'wide'"),
        (LlamaConfig, "head_dim", "8", "an integer, got '8' (text); write it without quotes"),
        (LlamaConfig, "num_hidden_layers", 2.0, "an integer, got 2.0; write 2"),
        (LlamaConfig, "num_hidden_layers", None, "an integer, got null"),
        (LlamaConfig, "attention_dropout", "0.1", "a number, got '0.1' (text); write it without"),
        (LlamaConfig, "attention_bias", "yes", "true or false, got 'yes'; write true"),
        (LlamaConfig, "hidden_act", 3, "text, got 3; put it in quotes"),
        (GPT2Config, "n_embd", True, "an integer, got true"),
        (GPT2Config, "hidden_size", "32", "an integer, got '32' (text)"),
        (xLSTMConfig, "mode", "trane", "one of 'train', 'train_with_padding', 'inference', got "),
    ],
)
def test_a_value_of_another_type_is_refused(
    hf_config_class: Any, field: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        with_plain_types(hf_config_class, {field: value}, "model.huggingface")
    assert str(caught.value).startswith(f"model.huggingface.{field}: must be {message}")


def test_whole_numbers_are_floats_where_the_library_wants_them() -> None:
    given = {"rms_norm_eps": 1, "head_dim": None, "rope_parameters": {"rope_theta": 9}}
    values = with_plain_types(LlamaConfig, given, "model.huggingface")
    assert values == given and type(values["rms_norm_eps"]) is float
    LlamaConfig(rms_norm_eps=values["rms_norm_eps"])  # refuses an integer
