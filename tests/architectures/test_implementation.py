"""GPT-2 and BERT of this package's own blocks: the same directories, runs that resume, refusals."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertForMaskedLM,
    GPT2LMHeadModel,
)

from model_foundry import train
from model_foundry.architectures import BaseLanguageModel, create_model_from_config
from model_foundry.architectures.implementation import choose_implementation
from model_foundry.architectures.native_transformer import (
    TransformerDecoder,
    TransformerEncoder,
)
from model_foundry.errors import ConfigError, Interrupted
from model_foundry.foundation.failpoints import watching
from model_foundry.foundation.interrupts import handle_signals
from model_foundry.model import load_model
from tests.architectures.conftest import make_config
from tests.experiments import tiny_experiment

V = 61
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
AUTO = {"gpt2": AutoModelForCausalLM, "bert": AutoModelForMaskedLM}
FLASH = {"attn_implementation": "flash_attention_2", "mixed_precision": "bf16"}


def make(name: str, implementation: str, **section: Any) -> Any:
    config = make_config(name, implementation=implementation, **section)
    return create_model_from_config(config, vocab_size=V, **IDS).eval()


@pytest.mark.parametrize("name", AUTO)
def test_both_implementations_write_the_same_directory(name: str, tmp_path: Path) -> None:
    found = {}
    for implementation in ("native", "transformers"):
        directory = tmp_path / implementation
        make(name, implementation).save_pretrained(directory)
        fields = json.loads((directory / "config.json").read_text())
        fields.pop("foundry_implementation", None)
        shapes = {
            key: (tensor.shape, tensor.dtype)
            for key, tensor in load_file(directory / "model.safetensors").items()
        }
        found[implementation] = fields, shapes, sorted(path.name for path in directory.iterdir())
    assert found["native"] == found["transformers"]


@pytest.mark.parametrize("name", AUTO)
def test_transformers_loads_a_native_directory_without_its_code(name: str, tmp_path: Path) -> None:
    model, ids = make(name, "native"), torch.randint(3, V, (2, 12))
    model.save_pretrained(tmp_path)
    theirs = AUTO[name].from_pretrained(tmp_path, trust_remote_code=False).eval()
    assert type(theirs).__module__.startswith("transformers.")
    torch.testing.assert_close(theirs(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu",
                                        "tanh"])  # fmt: skip
def test_every_activation_is_that_of_transformers(activation: str, tmp_path: Path) -> None:
    model = make("gpt2", "native", activation_function=activation)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["activation_function"] == activation
    theirs, ids = AUTO["gpt2"].from_pretrained(tmp_path).eval(), torch.randint(3, V, (2, 12))
    torch.testing.assert_close(theirs(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


def test_saving_draws_no_random_number(tmp_path: Path) -> None:
    model, before = make("bert", "native"), torch.get_rng_state()
    model.save_pretrained(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", AUTO)
def test_an_interrupted_run_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    native = "model.implementation=native"
    whole = tiny_experiment(name, tmp_path / "whole", native)
    cut = tiny_experiment(name, tmp_path / "cut", native, "training.save_steps=2")

    def stop(point: str) -> None:
        if point == "step 3 made":
            signal.raise_signal(signal.SIGTERM)

    with handle_signals(), watching(stop), pytest.raises(Interrupted, match="SIGTERM"):
        train(cut)
    models = [load_model(train(config).model_dir) for config in (whole, cut)]
    assert all(model.is_native for model in models)
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("training", "obstacle"),
    [
        (FLASH, r"training.attn_implementation \(=flash_attention_2\)"),
        ({"objective": "sequence_classification"}, r"training.objective \(=sequence_class"),
    ],
)
def test_what_native_blocks_cannot_do_is_refused_and_left_out_by_auto(
    training: dict[str, Any], obstacle: str
) -> None:
    native, auto = (
        make_config("gpt2", implementation=kind, training=training) for kind in ("native", "auto")
    )
    with pytest.raises(ConfigError, match=rf"\(=native\) does not fit {obstacle}.*set it to auto"):
        choose_implementation(native)
    assert choose_implementation(auto) == "transformers"


def test_other_architectures_have_no_choice() -> None:
    with pytest.raises(ValidationError, match=r"\(=native\) is for bert, gpt2, not for 'lstm'"):
        make_config("lstm", implementation="native")


def test_a_native_bert_ignores_the_first_segment_and_refuses_others() -> None:
    model, ids = make("bert", "native"), torch.randint(3, V, (2, 12))
    segments = torch.zeros_like(ids)
    assert torch.equal(model(ids, token_type_ids=segments).logits, model(ids).logits)
    segments[0, 3] = 1
    with pytest.raises(ValueError, match="bert knows no segments"):
        model(ids, token_type_ids=segments)


# --- the decoder and the encoder of model.backbone ------------------------------------------------

NATIVE = {"gpt2": TransformerDecoder, "bert": TransformerEncoder}
PUBLISHED = {"gpt2": GPT2LMHeadModel, "bert": BertForMaskedLM}


@pytest.mark.parametrize("implementation", ["native", "transformers"])
@pytest.mark.parametrize("name", AUTO)
def test_a_backbone_reads_and_writes_the_directories_of_its_twin(
    name: str, implementation: str, tmp_path: Path
) -> None:
    model, ids = make(name, implementation), torch.randint(3, V, (2, 12))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(tmp_path / "theirs")
    backbone = NATIVE[name].from_pretrained(tmp_path / "theirs").eval()
    assert backbone.model_type == {"gpt2": "transformer_decoder"}.get(name, "transformer_encoder")
    expected = model(ids).logits
    torch.testing.assert_close(backbone(ids).logits, expected, rtol=1e-4, atol=1e-4)
    backbone.save_pretrained(tmp_path / "own")
    again = BaseLanguageModel.from_pretrained(tmp_path / "own").eval()
    assert type(again) is NATIVE[name]
    assert torch.equal(again(ids).logits, backbone(ids).logits)
    again.save_published(tmp_path / "back")
    assert "foundry" not in (tmp_path / "back" / "config.json").read_text()
    back = AUTO[name].from_pretrained(tmp_path / "back").eval()
    assert type(back) is PUBLISHED[name]
    torch.testing.assert_close(back(ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_a_decoder_reads_no_bert_and_writes_no_rotary_gpt2(tmp_path: Path) -> None:
    make("bert", "transformers").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="holds the architecture 'bert'"):
        TransformerDecoder.from_pretrained(tmp_path)
    config = make_config("transformer_decoder", positions="rotary")
    rotary: Any = create_model_from_config(config, vocab_size=V, **IDS)
    with pytest.raises(ConfigError, match=r"positions \(='rotary'\) cannot be written as GPT-2"):
        rotary.save_published(tmp_path / "none")
    assert not (tmp_path / "none").exists()
