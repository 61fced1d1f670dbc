"""Fused nonlinearities: the same functions, put in where a model spells them out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.activations import ACT2CLS, ACT2FN

from model_foundry.architectures import BaseLanguageModel, create_model_from_config
from model_foundry.architectures.kernels.fused_activations import fuse_activations, fused
from model_foundry.config import ExperimentConfig

SPELLED_OUT = ("gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh")
OTHERS = sorted(ACT2CLS.keys() - {*SPELLED_OUT, "xielu"})  # making a xielu warns
MakeConfig = Callable[..., ExperimentConfig]


@pytest.mark.parametrize("name", SPELLED_OUT)
def test_a_fused_function_is_the_same_with_the_same_slope(name: str) -> None:
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64).requires_grad_()
    plain, fast = ACT2FN[name], fused(ACT2FN[name])
    assert isinstance(fast, nn.GELU)
    # gelu_fast writes the root of 2/pi with ten digits
    torch.testing.assert_close(fast(x), plain(x), rtol=0, atol=1e-10)
    slopes = [torch.autograd.grad(f(x).sum(), x)[0] for f in (fast, plain)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", OTHERS)
def test_all_other_functions_stay(name: str) -> None:
    assert fused(ACT2FN[name]) is None


def test_modules_are_found_at_any_depth() -> None:
    model = nn.Sequential(ACT2FN["gelu_new"], nn.ModuleDict({"a": ACT2FN["gelu_fast"]}))
    fuse_activations(model)
    assert [type(m) for m in (model[0], model[1]["a"])] == [nn.GELU, nn.GELU]


def gelus(model: nn.Module) -> int:
    return sum(isinstance(module, nn.GELU) for module in model.modules())


@pytest.mark.parametrize(("name", "number"), [("gpt2", 2), ("bert", 3)])
def test_fused_activations_follow_the_experiment(
    name: str, number: int, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    models = []
    for wanted in (True, False):
        speed = {"fused_activations": wanted}
        config = tiny_config(name, training={"speed": speed}, activation_function="gelu_new")
        torch.manual_seed(0)
        models.append(create_model_from_config(config, vocab_size=61).eval())
    assert [gelus(model) for model in models] == [number, 0]
    ids = torch.randint(3, 61, (2, 6))
    expected = models[1](ids).logits
    torch.testing.assert_close(models[0](ids).logits, expected, rtol=0, atol=1e-6)

    models[0].save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert "gelu_new" in (saved.get("activation_function"), saved.get("hidden_act"))
    for wanted in (True, False):
        loaded = type(models[0]).load_directory(tmp_path, fused_activations=wanted).eval()
        assert gelus(loaded) == (number if wanted else 0)
        torch.testing.assert_close(loaded(ids).logits, expected, rtol=0, atol=1e-6)
    assert gelus(BaseLanguageModel.from_pretrained(tmp_path)) == number
