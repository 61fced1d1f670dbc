"""GPT-2 against transformers and its published size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from model_foundry.architectures import (
    BaseLanguageModel,
    GPT2Model,
    create_model_from_config,
)
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError

MakeConfig = Callable[..., ExperimentConfig]


def test_gpt2_small_has_its_published_size(tiny_config: MakeConfig) -> None:
    config = tiny_config(
        "gpt2", layers=12, hidden_size=768, attention_heads=12, max_position_embeddings=1024
    )
    with torch.device("meta"):
        model = create_model_from_config(config, vocab_size=50257)
    assert model.get_parameter_count() == 124_439_808


def test_every_setting_arrives_in_transformers(tiny_config: MakeConfig) -> None:
    config = tiny_config(
        "gpt2",
        dropout=0.2,
        attention_dropout=0.3,
        intermediate_hidden_size=40,
        activation_function="gelu_new",
        training={"attn_implementation": "eager"},
    )
    ours = GPT2Model.from_config(config, vocab_size=9, eos_token_id=3).hf_config
    assert (ours.n_layer, ours.n_embd, ours.n_head, ours.n_inner) == (2, 16, 2, 40)
    assert (ours.resid_pdrop, ours.embd_pdrop, ours.attn_pdrop) == (0.2, 0.2, 0.3)
    assert ours.activation_function == "gelu_new"
    assert ours.n_positions == config.data.max_sequence_length
    assert (ours.pad_token_id, ours.bos_token_id, ours.eos_token_id) == (None, None, 3)
    assert ours._attn_implementation == "eager"


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_logits_are_those_of_transformers(
    tiny_config: MakeConfig, tmp_path: Path, implementation: str
) -> None:
    config = tiny_config("gpt2", training={"attn_implementation": implementation})
    model = create_model_from_config(config, vocab_size=31).eval()
    oracle = GPT2LMHeadModel(
        GPT2Config(vocab_size=31, n_positions=12, n_embd=16, n_layer=2, n_head=2, n_inner=64,
                   activation_function="gelu")
    ).eval()  # fmt: skip
    oracle.load_state_dict(model.hf_model.state_dict())
    ids = torch.randint(0, 31, (2, 9))
    torch.testing.assert_close(model(ids).logits, oracle(ids).logits)


def test_a_model_of_transformers_can_be_wrapped_saved_and_loaded(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=31, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = GPT2Model(GPT2LMHeadModel(config), config).eval()
    model.save_pretrained(tmp_path)
    ids = torch.randint(0, 31, (1, 5))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(theirs(ids).logits, model(ids).logits)


def test_a_directory_of_transformers_itself_is_loaded_by_its_model_type(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=31, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    assert type(BaseLanguageModel.from_pretrained(tmp_path)) is GPT2Model


def test_a_block_longer_than_the_positions_is_refused(tiny_config: MakeConfig) -> None:
    model = create_model_from_config(tiny_config("gpt2"), vocab_size=31)
    with pytest.raises(ValueError, match=r"block \(=13 tokens\) exceeds the 12 positions"):
        model(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ValueError, match=r"prompt of 5 tokens and max_new_tokens \(=8\).*12"):
        model.generate(torch.zeros(1, 5, dtype=torch.long), max_new_tokens=8)
    assert model.generate(torch.zeros(1, 5, dtype=torch.long), max_new_tokens=7).shape == (1, 12)


def test_no_cache_is_built_unless_asked_for(tiny_config: MakeConfig) -> None:
    model = create_model_from_config(tiny_config("gpt2"), vocab_size=31)
    ids = torch.randint(0, 31, (1, 6))
    assert model(ids).past_key_values is None
    assert model(ids, use_cache=True).past_key_values.get_seq_length() == 6


def test_attention_weights_come_on_request(tiny_config: MakeConfig) -> None:
    config = tiny_config("gpt2", training={"attn_implementation": "eager"})
    model = create_model_from_config(config, vocab_size=31)
    weights = model(torch.randint(0, 31, (3, 6)), output_attentions=True).attentions
    assert [w.shape for w in weights] == [(3, 2, 6, 6)] * 2


def test_flash_attention_by_name_is_refused_on_a_cpu(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tiny_config("gpt2", training={"attn_implementation": "flash_attention_2"})
    with pytest.raises(ConfigError, match=r"training\.attn_implementation"):
        create_model_from_config(config, vocab_size=31)
