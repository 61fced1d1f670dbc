"""Models that exceed the memory, told before their weights are made."""

from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.architectures import huggingface, memory
from model_foundry.config import ExperimentConfig
from model_foundry.errors import MemoryExhaustedError
from model_foundry.experiment import check, train
from model_foundry.model import create_model, load_model
from tests.experiments import tiny_experiment

PUBLISHED = "model.huggingface={model_type: llama}"
EXHAUSTED = RuntimeError("[enforce fail at alloc_cpu.cpp:127] can't allocate memory: you tried")


def unread(kind: str, directory: Path, *settings: str) -> ExperimentConfig:
    """Return an experiment whose data are not there."""
    return tiny_experiment(kind, directory, f"data.train={directory}/none.txt", *settings)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 20_000_000_000)


@pytest.mark.usefixtures("small")
def test_a_published_size_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    for use in (check, train):
        with pytest.raises(MemoryExhaustedError) as caught:
            use(unread("llama", tmp_path, PUBLISHED))
        assert str(caught.value) == (
            "model: llama has 6,476,533,760 parameters with these settings, whose weights "
            "and gradients take 51.8 GB, but this machine has 20.0 GB of memory; set the sizes in "
            "model.huggingface, such as hidden_size (=4096), intermediate_size (=11008), "
            "num_hidden_layers (=32)"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("small")
def test_a_model_of_any_architecture_is_refused(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "model.transformer.hidden_size=20000")
    with pytest.raises(MemoryExhaustedError, match=r"gpt2 has .* lower the sizes in model.transfo"):
        create_model(config)
    with torch.device("meta"):  # takes none
        assert create_model(config).get_parameter_count() > 20_000**2


def test_a_model_that_just_fits_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    size = sum(each.nbytes for each in create_model(config).parameters())
    monkeypatch.setattr(memory, "memory_bytes", lambda: size)
    create_model(config)
    monkeypatch.setattr(memory, "memory_bytes", lambda: size - 1)
    with pytest.raises(MemoryExhaustedError):
        create_model(config)


def test_memory_that_runs_out_while_a_model_is_made_or_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise EXHAUSTED

    config = tiny_experiment("llama", tmp_path)
    create_model(config).save_pretrained(tmp_path / "saved")
    monkeypatch.setattr(huggingface.HuggingFaceModel, "try_out", fail)
    for use in (create_model, check, train):
        with pytest.raises(MemoryExhaustedError, match="while the model was created"):
            use(config)
    monkeypatch.setattr("model_foundry.architectures.hf_model.from_tensors", fail)
    with pytest.raises(MemoryExhaustedError, match="saved: out of memory while the model was load"):
        load_model(tmp_path / "saved")
