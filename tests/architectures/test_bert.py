"""BERT against transformers and its published size."""

from collections.abc import Callable

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from model_foundry.architectures import BERTModel, create_model_from_config
from model_foundry.config import BERTSpecificConfig, ExperimentConfig

MakeConfig = Callable[..., ExperimentConfig]


def test_bert_base_has_its_published_size(tiny_config: MakeConfig) -> None:
    config = tiny_config(
        "bert", layers=12, hidden_size=768, attention_heads=12, max_position_embeddings=512
    )
    with torch.device("meta"):
        model = create_model_from_config(config, vocab_size=30522)
    assert model.get_parameter_count() == 109_514_298


def test_every_setting_arrives_in_transformers(tiny_config: MakeConfig) -> None:
    config = tiny_config(
        "bert",
        dropout=0.2,
        attention_dropout=0.3,
        intermediate_hidden_size=40,
        activation_function="relu",
    )
    config.model.bert = BERTSpecificConfig(type_vocab_size=3)
    ours = BERTModel.from_config(config, vocab_size=9, pad_token_id=4).hf_config
    assert (ours.num_hidden_layers, ours.hidden_size, ours.num_attention_heads) == (2, 16, 2)
    assert (ours.intermediate_size, ours.hidden_act, ours.type_vocab_size) == (40, "relu", 3)
    assert (ours.hidden_dropout_prob, ours.attention_probs_dropout_prob) == (0.2, 0.3)
    assert ours.max_position_embeddings == config.data.max_sequence_length
    assert (ours.pooler_type, ours.pad_token_id) == ("first", 4)


def test_the_logits_are_those_of_transformers(tiny_config: MakeConfig) -> None:
    model = create_model_from_config(tiny_config("bert"), vocab_size=31, pad_token_id=0).eval()
    oracle = BertForMaskedLM(
        BertConfig(vocab_size=31, max_position_embeddings=12, hidden_size=16, num_hidden_layers=2,
                   num_attention_heads=2, intermediate_size=64)
    ).eval()  # fmt: skip
    oracle.load_state_dict(model.hf_model.state_dict())
    ids, segments = torch.randint(1, 31, (2, 9)), torch.tensor([[0] * 4 + [1] * 5] * 2)
    torch.testing.assert_close(
        model(ids, token_type_ids=segments).logits, oracle(ids, token_type_ids=segments).logits
    )


def test_a_block_longer_than_the_positions_is_refused(tiny_config: MakeConfig) -> None:
    model = create_model_from_config(tiny_config("bert"), vocab_size=31)
    with pytest.raises(ValueError, match=r"block \(=13 tokens\) exceeds the 12 positions"):
        model(torch.ones(1, 13, dtype=torch.long))
