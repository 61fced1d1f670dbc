"""The device of a run: a GPU if there is one, unless `training.use_cpu` leaves it out."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState

from model_foundry.architectures.kernels import attention_choice
from model_foundry.errors import ConfigError
from model_foundry.model import create_model
from model_foundry.training import distributed
from model_foundry.training.distributed import device_type, require_strategy, start_accelerator
from tests.experiments import tiny_experiment

ON_CPU = "training.use_cpu=true"


@pytest.fixture(autouse=True)
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have torch and Accelerate find a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = SimpleNamespace(device=torch.device("cuda", 0))
    monkeypatch.setattr(distributed, "PartialState", lambda: found)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_use_cpu_leaves_the_gpu_out(tmp_path: Path) -> None:
    plain, on_cpu = (tiny_experiment("gpt2", tmp_path, *more).training for more in ([], [ON_CPU]))
    assert (device_type(plain), device_type(on_cpu)) == ("cuda", "cpu")
    settled = on_cpu.model_copy(update={"mixed_precision": "no"})
    assert start_accelerator(settled).device == torch.device("cpu")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_attention_is_chosen_for_the_cpu(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_choice, "find_spec", lambda name: name)  # flash-attn is there
    half = "training.mixed_precision=bf16"
    model = create_model(tiny_experiment(kind, tmp_path, ON_CPU, half), vocab_size=20)
    assert model.hf_model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("launched", [True, False])
def test_processes_of_a_launcher_are_on_the_cpu(
    launched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "launched", lambda: launched)
    on_cpu = tiny_experiment("gpt2", tmp_path, ON_CPU).training
    assert device_type(on_cpu) == "cpu"
    assert distributed._device(on_cpu) == torch.device("cpu")


def test_sharding_needs_the_gpus(tmp_path: Path) -> None:
    sharded = tiny_experiment("gpt2", tmp_path, ON_CPU, "training.distributed.strategy=fsdp2")
    with pytest.raises(ConfigError, match=r"among GPUs, and training\.use_cpu leaves them out; "):
        require_strategy(sharded.training)
