"""Model types of transformers from an experiment: fields, heads, refusals, directories."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from model_foundry.architectures import BaseLanguageModel, create_model_from_config
from model_foundry.architectures.huggingface import HuggingFaceModel
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.experiment import train
from model_foundry.model import load_model
from model_foundry.tokenizer.loading import load_tokenizer
from tests.architectures.model_types import IDS, T, V, make, random_ids, tiny
from tests.experiments import tiny_experiment

pytestmark = pytest.mark.usefixtures("without_ninja")


def made(config: ExperimentConfig, **ids: Any) -> Any:
    return create_model_from_config(config, vocab_size=V, **(IDS | ids))


def refusal(model_type: str, head: str = "causal", **section: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        made(tiny(model_type, head, **section))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_logits_are_those_of_transformers() -> None:
    model = make("llama", "causal")
    oracle = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=32,
            max_position_embeddings=T,
        )
    ).eval()
    oracle.load_state_dict(model.hf_model.state_dict())
    ids = random_ids(2, T)
    torch.testing.assert_close(model(ids).logits, oracle(ids).logits)


def test_vocabulary_special_tokens_and_positions_follow_from_the_experiment() -> None:
    model = made(tiny("modernbert", "masked"), mask_token_id=5, cls_token_id=6)
    config = model.hf_config
    assert (config.vocab_size, config.max_position_embeddings, model.num_positions) == (V, T, T)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    assert (config.cls_token_id, config.sep_token_id, config.mask_token_id) == (6, None, 5)


def test_a_type_that_counts_from_padding_reads_a_whole_block() -> None:
    model = made(tiny("roberta", "masked"), pad_token_id=4)
    assert (model.hf_config.max_position_embeddings, model.num_positions) == (T + 5, T)
    assert model(random_ids(1, T)).logits.shape == (1, T, V)
    with pytest.raises(ValueError, match=rf"block \(={T + 1} tokens\) exceeds the {T} pos"):
        model(random_ids(1, T + 1))


def test_a_type_that_counts_from_padding_needs_a_padding_token() -> None:
    with pytest.raises(ConfigError, match="tokenizer: has no padding token, but roberta counts"):
        made(tiny("roberta", "masked"), pad_token_id=None)


def test_a_type_whose_configuration_names_no_padding_token_is_made() -> None:
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 4, "rotary_dim": 4}
    assert make("codegen", "causal", **sizes).num_positions is not None


def test_a_name_may_be_written_with_underscores() -> None:
    assert made(tiny("deberta_v2", "masked", hidden_size=16, num_attention_heads=2,
                     num_hidden_layers=1)).hf_config.model_type == "deberta-v2"  # fmt: skip


@pytest.mark.parametrize(
    ("head", "name"), [("causal", "RobertaForCausalLM"), ("masked", "RobertaForMaskedLM")]
)
def test_the_objective_chooses_the_head(head: str, name: str) -> None:
    model = make("roberta", head)
    assert type(model.hf_model).__name__ == name
    assert model.is_causal == (head == "causal")


@pytest.mark.parametrize(
    ("model_type", "section", "message"),
    [
        ("llamma", {}, "model.huggingface.model_type: 'llamma' is no model type of transformers; "
         "did you mean 'llama'?"),
        ("vit", {}, "'vit' has no language model; use llama, for instance"),
        ("zzqq", {}, "'zzqq' is no model type of transformers; use llama, for instance"),
        ("llama", {"hiden_size": 8}, "model.huggingface.hiden_size: is no field of LlamaConfig; "
         "did you mean 'hidden_size'?"),
        ("llama", {"vocab_size": 8}, "model.huggingface.vocab_size: follows from tokenizer"),
        ("llama", {"eos_token_id": 8}, "model.huggingface.eos_token_id: follows from tokenizer"),
        ("llama", {"hidden_act": "geluu"}, "cannot be built from these fields: "),
        ("llama", {"hidden_size": "wide"}, "hidden_size: must be an integer, got 'wide'"),
        ("gemma3", {}, "gemma3 is made of text_config, vision_config; use gemma3_text"),
        ("modernbert", {}, "training.objective (=causal_lm) needs a causal head, but modernbert "
         "has masked head; use another type, or masked_lm"),
        ("xlstm", {"tie_word_embeddings": True}, "xlstm does not tie its matrices here"),
        ("xlm", {"emb_dim": 16, "n_layers": 1, "n_heads": 2}, "xlm sees later tokens"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_in_one_line(
    model_type: str, section: dict[str, Any], message: str
) -> None:
    assert message in refusal(model_type, **section)


@pytest.mark.parametrize("head", ["causal", "masked"])
def test_a_head_that_does_not_suit_the_objective_is_refused(head: str) -> None:
    other = {"causal": "masked", "masked": "causal"}[head]
    with pytest.raises(ValueError, match=f"set model.huggingface.head={head} or training.obj"):
        tiny("roberta", objective=head, head=other)


def test_a_missing_package_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Any, input_ids: Any, attention_mask: Any, use_cache: bool) -> None:
        raise ImportError("fast-kernels\n is not installed")

    monkeypatch.setattr(LlamaForCausalLM, "forward", missing)
    message = "llama needs a package or kernel that is not here: fast-kernels is not installed"
    assert message in refusal("llama")


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [("mamba", "does not hold"), ("stablelm", "has not been measured")],
)
def test_packed_documents_need_a_type_that_keeps_them_apart(model_type: str, reason: str) -> None:
    config = tiny(model_type, "causal", hidden_size=64, num_hidden_layers=1)
    config.data.packing = "documents"
    with pytest.raises(ConfigError) as caught:
        made(config)
    assert f"{reason} for model_type '{model_type}'; use blocks or streams" in str(caught.value)
    assert "data.packing (=documents) needs the law 'documents'" in str(caught.value)


def test_prompts_of_several_lengths_need_a_type_that_ignores_padding() -> None:
    ids, mask = random_ids(2, 6), torch.ones(2, 6, dtype=torch.long)
    mask[0, :2] = 0
    with pytest.raises(ConfigError, match="needs the law 'padding_left'"):
        make("rwkv", "causal").generate(ids, attention_mask=mask)
    model = make("llama", "causal")
    alone = model.generate(ids[:1, 2:], max_new_tokens=5, pad_token_id=0)
    together = model.generate(ids, attention_mask=mask, max_new_tokens=5, pad_token_id=0)
    assert torch.equal(together[:1, 2:], alone)


def test_a_type_without_gradient_checkpointing_refuses_it() -> None:
    with pytest.raises(ConfigError, match="is not supported by model_type 'albert'"):
        make("albert", "masked").require_gradient_checkpointing()
    make("llama", "causal").require_gradient_checkpointing()


@pytest.mark.parametrize(
    ("model_type", "auto"), [("llama", AutoModelForCausalLM), ("electra", AutoModelForMaskedLM)]
)
def test_a_directory_is_that_of_transformers(model_type: str, auto: Any, tmp_path: Path) -> None:
    head = "causal" if auto is AutoModelForCausalLM else "masked"
    model = make(model_type, head)
    model.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    assert (record["foundry_architecture"], record["model_type"]) == ("huggingface", model_type)
    loaded = BaseLanguageModel.from_pretrained(tmp_path)
    assert type(loaded) is HuggingFaceModel
    assert type(auto.from_pretrained(tmp_path)) is type(loaded.hf_model) is type(model.hf_model)


@pytest.mark.parametrize("change", [{"foundry_head": None}, {"model_type": "no_type"}])
def test_a_directory_of_no_known_type_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    make("llama", "causal").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=r"foundry_head|no model type"):
        BaseLanguageModel.from_pretrained(tmp_path)


def test_a_training_saves_a_model_that_is_loaded_again(tmp_path: Path) -> None:
    result = train(tiny_experiment("llama", tmp_path))
    model, tokenizer = load_model(result.model_dir), load_tokenizer(result.model_dir)
    assert model.hf_config.vocab_size == len(tokenizer)
    assert model.hf_config.eos_token_id == tokenizer.eos_token_id
