"""Sequence-to-sequence types of transformers from an experiment: fields, refusals, directories."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartForConditionalGeneration

from model_foundry.architectures import BaseModel, create_model_from_config
from model_foundry.architectures.huggingface import HuggingFaceModel
from model_foundry.architectures.huggingface_seq2seq import HuggingFaceSeq2Seq
from model_foundry.architectures.initial_weights import begin_from
from model_foundry.architectures.plugin_check import check_without_data
from model_foundry.config import ExperimentConfig, validate
from model_foundry.config.model import ModelConfig
from model_foundry.errors import ConfigError
from tests.architectures.model_types import IDS, PAIR, T, V, make, random_ids, tiny


def made(config: ExperimentConfig, **ids: Any) -> Any:
    return create_model_from_config(config, vocab_size=V, **(IDS | ids))


def changed(config: ExperimentConfig, **training: Any) -> ExperimentConfig:
    """Return an experiment with other settings of its training."""
    raw = config.model_dump(mode="json", exclude_unset=True)
    raw["training"] |= training
    return validate(raw, "tiny")


def refusal(config: ExperimentConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        made(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("objective", ["seq2seq_lm", "span_denoising"])
@pytest.mark.parametrize(
    ("model_type", "name"),
    [("bart", "BartForConditionalGeneration"), ("mt5", "MT5ForConditionalGeneration")],
)
def test_an_objective_of_pairs_makes_an_encoder_decoder(
    objective: str, model_type: str, name: str
) -> None:
    model = made(changed(tiny(model_type, "seq2seq"), objective=objective))
    assert type(model) is HuggingFaceSeq2Seq and model.model_type == "huggingface"
    assert type(model.hf_model).__name__ == name


def test_vocabulary_special_tokens_and_positions_follow_from_the_experiment() -> None:
    model = made(tiny("bart", "seq2seq"))
    config = model.hf_config
    assert (config.vocab_size, config.max_position_embeddings, model.num_positions) == (V, T, T)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    assert (config.decoder_start_token_id, config.forced_eos_token_id) == (1, None)
    assert made(tiny("t5", "seq2seq")).num_positions is None
    assert made(tiny("marian", "seq2seq")).hf_config.decoder_vocab_size == V


def test_without_tokens_for_them_a_target_begins_with_padding_and_is_padded_with_its_end() -> None:
    begun = made(tiny("t5", "seq2seq"), bos_token_id=None).hf_config
    assert (begun.decoder_start_token_id, begun.pad_token_id) == (0, 0)
    ended = made(tiny("t5", "seq2seq"), bos_token_id=None, pad_token_id=None).hf_config
    assert (ended.decoder_start_token_id, ended.pad_token_id) == (2, 2)


def test_positions_are_those_of_the_longest_source_or_target() -> None:
    longer = changed(tiny("bart", "seq2seq"), seq2seq_lm={"max_target_length": T + 6})
    assert made(longer).num_positions == T + 6
    hidden = changed(
        tiny("bart", "seq2seq"), objective="span_denoising", span_denoising={"hidden_share": 0.9}
    )
    assert made(hidden).num_positions > T


def test_a_longer_text_than_the_positions_is_refused() -> None:
    model, ids = make("bart", "seq2seq"), random_ids(1, T + 1)
    with pytest.raises(ValueError, match=rf"source \(={T + 1} tokens\) exceeds the {T} positions"):
        model(input_ids=ids, labels=ids[:, :3])
    with pytest.raises(ValueError, match=rf"target \(={T + 1} tokens\) exceeds"):
        model(input_ids=ids[:, :3], labels=ids)
    with pytest.raises(ValueError, match=r"max_new_tokens \(=25 tokens\) exceeds"):
        model.generate(ids[:, :3], max_new_tokens=T + 1)


@pytest.mark.parametrize(
    ("model_type", "section", "message"),
    [
        ("bartt", {}, "'bartt' is no model type of transformers; did you mean 'bart'?"),
        ("llama", {}, "training.objective (=seq2seq_lm) needs a seq2seq head, but llama has causal "
         "head; use another type, or causal_lm"),
        ("bart", {"head": "causal"}, "model.huggingface.head (=causal): 'seq2seq_lm' trains the "
         "seq2seq head of a type; leave it out"),
        ("bart", {"d_modell": 8}, "d_modell: is no field of BartConfig; did you mean 'd_model'?"),
        ("bart", {"decoder_start_token_id": 8}, "decoder_start_token_id: follows from tokenizer"),
        ("marian", {"decoder_vocab_size": 8}, "decoder_vocab_size: follows from tokenizer"),
        ("bart", {"max_position_embeddings": 8}, "data.max_sequence_length: texts of "
         f"up to {T} tokens need model.huggingface.max_position_embeddings to be {T}, got 8; "),
        ("bart", {"activation_function": "geluu"}, "bart cannot be built from these fields: "),
        ("encoder-decoder", {}, "encoder-decoder is made of "),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_in_one_line(
    model_type: str, section: dict[str, Any], message: str
) -> None:
    assert message in refusal(tiny(model_type, "seq2seq", **section))


def test_a_language_objective_names_that_of_the_type() -> None:
    message = "needs a causal head, but t5 has seq2seq head; use another type, or seq2seq_lm"
    assert message in refusal(tiny("t5", "causal"))


@pytest.mark.parametrize("architecture", ["huggingface", "t5"])
def test_a_tokenizer_of_the_targets_is_refused_before_the_data_are_read(architecture: str) -> None:
    config = changed(
        tiny("bart", "seq2seq"), seq2seq_lm={"target_tokenizer": {"tokenizer_type": "word"}}
    )
    sizes = {"layers": 1, "hidden_size": 8, "attention_heads": 2}
    if architecture == "t5":
        config.model = ModelConfig.model_validate({"architecture": "t5", "transformer": sizes})
    with pytest.raises(ConfigError, match=f"'{architecture}' has one vocabulary for sources and t"):
        check_without_data(config, torch.device("cpu"))


def test_packed_documents_are_refused() -> None:
    config = changed(tiny("bart", "seq2seq"), objective="span_denoising")
    raw = config.model_dump(mode="json", exclude_unset=True)
    raw["data"]["packing"] = "documents"
    with pytest.raises(ConfigError, match="which 'huggingface' cannot; use blocks or streams"):
        validate(raw, "tiny")


def test_a_type_that_reads_the_padding_of_its_sources_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = BartForConditionalGeneration.forward

    def unmasked(self: Any, input_ids: Any, attention_mask: Any, **given: Any) -> Any:
        return usual(self, input_ids=input_ids, **given)

    def named(self: Any, input_ids: Any, attention_mask: Any, decoder_input_ids: Any,
              use_cache: bool) -> Any:  # fmt: skip
        return unmasked(self, input_ids, None, decoder_input_ids=decoder_input_ids)

    monkeypatch.setattr(BartForConditionalGeneration, "forward", named)
    wide = {"init_std": 1.0}
    assert "reads the padding of its sources" in refusal(tiny("bart", "seq2seq", **wide))


def test_the_cache_of_a_type_that_was_not_measured_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []

    def noted(self: Any, **given: Any) -> Any:
        used.append(given["use_cache"])
        return given["input_ids"]

    for model_type in ("bart", "plbart"):
        model = make(model_type, "seq2seq", **PAIR)
        monkeypatch.setattr(type(model.hf_model), "generate", noted)
        model.generate(random_ids(1, 5))
    assert used == [True, False]


def test_a_directory_is_that_of_transformers(tmp_path: Path) -> None:
    model = make("mt5", "seq2seq", tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    assert (record["foundry_architecture"], record["model_type"]) == ("huggingface", "mt5")
    loaded: Any = BaseModel.from_pretrained(tmp_path)
    assert type(loaded) is HuggingFaceSeq2Seq
    assert type(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) is type(loaded.hf_model)
    ids = random_ids(2, 9)
    assert torch.equal(loaded.generate(ids), model.generate(ids))
    with pytest.raises(ConfigError, match="not a HuggingFaceModel"):
        HuggingFaceModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("named", [False, True])
def test_first_weights_of_an_encoder_decoder_have_its_head(named: bool, tmp_path: Path) -> None:
    model = make("mt5", "seq2seq", tie_word_embeddings=False)
    (model if named else model.hf_model).save_pretrained(tmp_path)
    other = made(tiny("mt5", "seq2seq", tie_word_embeddings=False))
    assert begin_from(other, tmp_path).new == []
    assert torch.equal(other.hf_model.lm_head.weight, model.hf_model.lm_head.weight)


@pytest.mark.parametrize(
    "change", [{"foundry_head": "causal"}, {"foundry_head": None}, {"foundry_kind": "language"}]
)
def test_a_directory_of_another_head_than_its_kind_is_refused(
    change: dict[str, Any], tmp_path: Path
) -> None:
    make("bart", "seq2seq").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match="foundry_head must be "):
        BaseModel.from_pretrained(tmp_path)
