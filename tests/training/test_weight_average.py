"""The average of the weights: by hand, tied and frozen weights, and its place in the model."""

from pathlib import Path

import pytest
import torch

from model_foundry import train
from model_foundry.architectures import BaseLanguageModel
from model_foundry.experiment import attempt
from model_foundry.foundation.failpoints import watching
from model_foundry.model import create_model
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.weight_average import AverageHook, WeightAverage
from tests.experiments import tiny_experiment

DECAY = 0.75


@pytest.fixture
def model(tmp_path: Path) -> BaseLanguageModel:
    torch.manual_seed(0)
    model = create_model(tiny_experiment("gpt2", tmp_path))
    assert isinstance(model, BaseLanguageModel)
    return model


def disturb(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight)


def test_each_update_keeps_a_share_of_the_average(model: BaseLanguageModel) -> None:
    average = WeightAverage(model, DECAY)
    average.start()
    expected = {n: w.detach().double() for n, w in model.named_parameters()}
    for _ in range(4):
        disturb(model)
        average.update()
        for name, weight in model.named_parameters():
            expected[name] = DECAY * expected[name] + (1 - DECAY) * weight.detach().double()
    found = average.tensors()
    assert found.keys() == expected.keys()  # a tied weight once
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_the_model_has_the_average_within_the_block_only(model: BaseLanguageModel) -> None:
    average = WeightAverage(model, DECAY)
    average.start()
    disturb(model)
    own = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="within"), average.in_place():
        named = dict(model.named_parameters())
        assert all(torch.equal(named[n], each) for n, each in average.tensors().items())
        raise RuntimeError("within")
    assert all(torch.equal(own[name], weight) for name, weight in model.state_dict().items())


def test_weights_that_are_not_trained_are_left_alone(model: BaseLanguageModel) -> None:
    frozen = next(iter(model.named_parameters()))[0]
    dict(model.named_parameters())[frozen].requires_grad_(False)
    average = WeightAverage(model, DECAY)
    average.start()
    assert frozen not in average.tensors()


def test_weights_in_half_precision_have_an_average_in_fp32(model: BaseLanguageModel) -> None:
    model.to(torch.bfloat16)
    average = WeightAverage(model, 0.999)
    average.start()
    before = average.tensors()["hf_model.transformer.ln_f.weight"].clone()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    average.update()
    moved = average.tensors()["hf_model.transformer.ln_f.weight"] - before
    torch.testing.assert_close(moved, torch.full_like(moved, 0.001), rtol=1e-3, atol=0)


def test_another_model_s_average_is_refused(model: BaseLanguageModel) -> None:
    average = WeightAverage(model, DECAY)
    average.start()
    tensors = average.tensors()
    tensors.pop(next(iter(tensors)))
    with pytest.raises(ValueError, match="of other weights"):
        average.restore(tensors)


def test_a_run_keeps_the_average_of_its_weights_after_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the saved weights of each step, by hand."""
    settings = ("training.save_steps=1", f"training.ema_decay={DECAY}", "training.eval_steps=2")
    begun: list[dict[str, torch.Tensor]] = []

    class Kept(AverageHook):
        def on_start(self, training: object) -> None:
            super().on_start(training)  # type: ignore[arg-type]
            begun.append({n: t.clone() for n, t in self.average.tensors().items()})

    monkeypatch.setattr(attempt, "AverageHook", Kept)
    result = train(tiny_experiment("gpt2", tmp_path, *settings))
    expected = begun[0]
    for path in step_directories(tmp_path / "run" / "checkpoints"):
        weights = dict(BaseLanguageModel.from_pretrained(path).named_parameters())
        for name, weight in weights.items():
            expected[name] = torch.lerp(expected[name], weight.detach(), 1 - DECAY)
    assert result.averaged_model_dir == tmp_path / "run" / "model_ema"
    averaged = BaseLanguageModel.from_pretrained(result.averaged_model_dir)
    for name, weight in averaged.named_parameters():
        torch.testing.assert_close(weight.detach(), expected[name], rtol=1e-5, atol=1e-7)
    lines = [x for x in read_metrics(tmp_path / "run" / "metrics.jsonl") if "eval/loss" in x]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["eval/ema/loss"] != line["eval/loss"] for line in lines)
    assert "eval/ema/tokens" not in lines[0] and "eval/ema/unknown_share" not in lines[0]
    assert result.metrics["eval/ema/loss"] == lines[-1]["eval/ema/loss"]


def test_the_average_changes_nothing_that_is_trained(tmp_path: Path) -> None:
    losses = []
    for name, settings in (("plain", []), ("averaged", ["training.ema_decay=0.9"])):
        points: list[str] = []
        with watching(points.append):
            train(tiny_experiment("lstm", tmp_path / name, "training.eval_steps=1", *settings))
        lines = read_metrics(tmp_path / name / "run" / "metrics.jsonl")
        losses.append([x[key] for x in lines for key in ("train/loss", "eval/loss") if key in x])
        assert "step 6 evaluated" in points
    assert losses[0] == losses[1] and len(losses[0]) == 12
