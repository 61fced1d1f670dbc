"""Generation: reproducible, within the positions, with valid settings only."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model_foundry import generation
from model_foundry.architectures import create_model_from_config
from model_foundry.errors import ConfigError
from model_foundry.generation import generate_texts, write_texts
from model_foundry.model import create_model
from model_foundry.tokenizer.special_tokens import special_token_ids
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import tiny_experiment

BACKBONE = {"layers": 1, "hidden_size": 16, "attention_heads": 2, "positions": "learned"}
CAUSAL = ["gpt2", "lstm", "gru", "rnn"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_character(documents=["the quick brown fox jumps"])


@pytest.mark.parametrize("kind", CAUSAL)
def test_the_seed_determines_the_text_and_prompts_are_kept(
    kind: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = create_model(tiny_experiment(kind, tmp_path), tokenizer=tokenizer)
    state = torch.get_rng_state()
    one, again, other = (
        generate_texts(model, tokenizer, ["the", "quick"], max_new_tokens=9, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == again != other
    assert one[0].startswith("the") and one[1].startswith("quick")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", CAUSAL)
def test_zero_temperature_takes_the_likeliest_token(
    kind: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = create_model(tiny_experiment(kind, tmp_path), tokenizer=tokenizer).eval()
    [text] = generate_texts(model, tokenizer, ["fox"], max_new_tokens=1, temperature=0)
    ids = torch.tensor([tokenizer("fox")["input_ids"]])
    likeliest = int(model(ids).logits[0, -1].argmax())
    assert text == "fox" + tokenizer.decode([likeliest], skip_special_tokens=True)


@pytest.fixture(scope="module")
def pairs(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that writes with a small encoder-decoder of 12 positions."""
    model = json.dumps({"architecture": "transformer", "backbone": BACKBONE})
    given = ("data.max_sequence_length=12", "training.objective=span_denoising", f"model={model}")
    config = tiny_experiment("gpt2", tmp_path_factory.mktemp("pairs"), *given)
    ids = {"vocab_size": len(tokenizer), **special_token_ids(tokenizer)}
    network: Any = create_model_from_config(config, **ids).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return partial(write_texts, network, (tokenizer, tokenizer))


def test_an_encoder_decoder_writes_the_same_for_a_text_alone_and_beside_others(pairs: Any) -> None:
    texts = ["the quick", "fox", "the"]
    assert pairs(texts) == [pairs([text])[0] for text in texts]
    assert pairs(texts, temperature=0) == pairs(texts) == pairs(texts, seed=1)
    sampled = [pairs(texts, top_k=9, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_an_encoder_decoder_stays_within_its_positions(pairs: Any) -> None:
    assert len(pairs(["fox"], max_new_tokens=500, temperature=1)[0]) <= 12
    with pytest.raises(ConfigError, match="prompt: has 17 tokens, but the model reads at most 12"):
        pairs(["t" * 16])


def test_text_stays_within_the_positions(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = create_model(tiny_experiment("gpt2", tmp_path), tokenizer=tokenizer)
    [text] = generate_texts(model, tokenizer, ["the"], max_new_tokens=500)
    assert len(text) < 16
    with pytest.raises(ConfigError, match="17 tokens, but the model reads at most 15 before"):
        generate_texts(model, tokenizer, ["t" * 16])


def test_many_prompts_are_continued_a_few_at_a_time(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model(tiny_experiment("gpt2", tmp_path), tokenizer=tokenizer)
    sizes: list[int] = []
    whole = model.generate

    def generate(ids: torch.Tensor, **settings: Any) -> torch.Tensor:
        sizes.append(len(ids))
        return whole(ids, **settings)

    monkeypatch.setattr(model, "generate", generate)
    prompts = ["the", "quick", "brown", "fox", "jumps"]
    settings = {"max_new_tokens": 4, "temperature": 0}
    together = generate_texts(model, tokenizer, prompts, **settings)
    monkeypatch.setattr(generation, "TOKENS_AT_ONCE", 20)  # of 6 and 4 each
    assert generate_texts(model, tokenizer, prompts, **settings) == together
    monkeypatch.setattr(generation, "TOKENS_AT_ONCE", 1)
    assert generate_texts(model, tokenizer, prompts[:2], **settings) == together[:2]
    assert sizes == [5, 2, 2, 1, 1, 1]
    assert generate_texts(model, tokenizer, []) == []


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_token_costs_the_same_after_any_prefix(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call reads one token, after a prefix of any length."""
    model = create_model(tiny_experiment(kind, tmp_path), vocab_size=20).eval()
    read: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(
        lambda _, given: read.append(given[0].shape[1])
    )
    model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=6, eos_token_id=None)
    assert read == [3, 1, 1, 1, 1, 1]


def test_masked_model_does_not_generate(tmp_path: Path) -> None:
    bert_style = TokenizerFactory.train_wordpiece(documents=["some text"], vocab_size=40)
    model = create_model(tiny_experiment("bert", tmp_path), tokenizer=bert_style)
    with pytest.raises(ConfigError, match="bert model that fills masks cannot generate"):
        generate_texts(model, bert_style, ["some"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 1e-9}, "temperature: must be 0, or from 0.01 to 100"),
        ({"temperature": float("inf")}, "temperature"),
        ({"prompts": ["a\udcff"]}, "prompt: is not UTF-8 at character 1"),
    ],
)
def test_invalid_settings_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = create_model(tiny_experiment("gpt2", tmp_path), tokenizer=tokenizer)
    with pytest.raises(ConfigError, match=message):
        generate_texts(model, tokenizer, **({"prompts": ["the"]} | settings))
