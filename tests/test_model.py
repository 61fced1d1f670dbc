"""`create_model`: the size, the special ids, and weights that depend on the seed alone."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model_foundry.errors import DataError
from model_foundry.model import create_model
from model_foundry.tokenizer.special_tokens import special_token_ids
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import MODELS, tiny_experiment

DOCUMENTS = ["the quick brown fox"]


@pytest.fixture(scope="module")
def character() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_character(documents=DOCUMENTS)


def rows(model: torch.nn.Module) -> int:
    return model.get_input_embeddings().weight.shape[0]  # type: ignore[operator, no-any-return]


def test_the_size_is_given_else_the_tokenizers_else_configured(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    assert rows(create_model(config)) == 300
    assert rows(create_model(config, tokenizer=character)) == len(character)
    assert rows(create_model(config, tokenizer=character, vocab_size=77)) == 77
    character.save_pretrained(tmp_path / "run" / "tokenizer")
    assert rows(create_model(config)) == len(character)


def test_tokenizer_named_by_path_gives_the_size(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    character.save_pretrained(tmp_path / "mine")
    config = tiny_experiment("lstm", tmp_path, f"tokenizer.path={tmp_path / 'mine'}")
    assert rows(create_model(config)) == len(character)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_weights_follow_from_the_seed_whatever_ran_before(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = create_model(tiny_experiment(kind, tmp_path)).state_dict()
    state = torch.get_rng_state()
    torch.rand(3)
    again = create_model(tiny_experiment(kind, tmp_path)).state_dict()
    other = create_model(tiny_experiment(kind, tmp_path, "seed=7")).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    torch.set_rng_state(state)


def test_begin_and_end_fall_back_to_cls_and_sep() -> None:
    bert_style = TokenizerFactory.train_wordpiece(documents=DOCUMENTS, vocab_size=40)
    ids = special_token_ids(bert_style)
    assert ids["bos_token_id"] == bert_style.cls_token_id
    assert ids["eos_token_id"] == bert_style.sep_token_id
    assert special_token_ids(None) == {}


def test_special_ids_reach_the_model(tmp_path: Path, character: PreTrainedTokenizerFast) -> None:
    for kind in ("gpt2", "lstm"):
        hf_config = create_model(tiny_experiment(kind, tmp_path), tokenizer=character).hf_config
        ids = hf_config.pad_token_id, hf_config.bos_token_id, hf_config.eos_token_id
        expected = character.pad_token_id, character.bos_token_id, character.eos_token_id
        assert ids == expected


def test_vocabulary_too_small_for_the_special_tokens_is_refused(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(DataError, match="outside the vocabulary"):
        create_model(tiny_experiment("gpt2", tmp_path), tokenizer=character, vocab_size=2)
