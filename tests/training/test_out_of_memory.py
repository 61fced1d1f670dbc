"""Memory that really does not suffice: the batch, the shares and the remedies are named."""

import re
import resource
from pathlib import Path

import pytest
import torch

from model_foundry.architectures import MODEL_REGISTRY
from model_foundry.errors import MemoryExhaustedError, is_out_of_memory
from model_foundry.experiment.train import train
from model_foundry.training.out_of_memory import STATM, naming_the_batch
from tests.children import in_child
from tests.experiments import tiny_experiment

ROOM = 200_000_000  # bytes that the process may take beside what it has


def train_with_little_memory(directory: Path, *overrides: str) -> None:
    pages = int(STATM.read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    train(tiny_experiment("gpt2", directory, *overrides))


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="the system does not limit the memory it maps")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "training.per_device_train_batch_size=16384",
            r"out of memory in step 1 \(there is no checkpoint yet\), with 16384 rows x 16 tokens "
            r"in a forward pass: the model takes [\d.]+ MB \(weights, gradients and moments\), "
            r"activations and logits about [\d,.]+ [MG]B; set "
            r"training.per_device_train_batch_size=8192 training.gradient_accumulation_steps=2 "
            r"\(the same global batch\), training.gradient_checkpointing=true or "
            r"data.max_sequence_length=8\n",
        ),
        (
            "model.transformer.hidden_size=4096",
            "out of memory while the model was created, before any batch: ",
        ),
    ],
)
def test_insufficient_memory_is_explained(setting: str, message: str, tmp_path: Path) -> None:
    ended = in_child(train_with_little_memory, tmp_path, setting)
    assert ended.code == MemoryExhaustedError.exit_code == 10, ended.stderr
    assert re.search(rf"^error: {message}", ended.stderr, re.MULTILINE), ended.stderr


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_libraries_say_is_known(error: Exception, exhausted: bool, tmp_path: Path) -> None:
    assert is_out_of_memory(error) == exhausted
    config = tiny_experiment("lstm", tmp_path, "training.per_device_train_batch_size=7")
    expected = MemoryExhaustedError if exhausted else type(error)
    with (
        pytest.raises(expected),
        naming_the_batch(config, torch.nn.Linear(1, 1), rows=7, when=lambda: "step 1"),
    ):
        raise error


def test_an_evaluation_names_its_own_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        if not torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*arguments, **named)

    model = MODEL_REGISTRY["lstm"]
    forward = model.forward
    monkeypatch.setattr(model, "forward", fail)
    monkeypatch.setattr("model_foundry.objectives.language.require_no_leak", lambda *_, **__: None)
    config = tiny_experiment("lstm", tmp_path, "training.per_device_eval_batch_size=6")
    with pytest.raises(MemoryExhaustedError, match="in an evaluation, with 6 rows x 16") as caught:
        train(config)
    assert "training.per_device_eval_batch_size=3 (the same result)" in str(caught.value)
    assert "(weights)" in str(caught.value)
