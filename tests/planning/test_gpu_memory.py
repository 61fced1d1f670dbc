"""The memory of a GPU, planned and taken; without a GPU, each test is skipped."""

import gc
from pathlib import Path

import pytest
import torch

from model_foundry import train
from model_foundry.planning import build_plan, memory
from tests.experiments import tiny_experiment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
MODELS = {
    "gpt2": "model.transformer={layers: 4, hidden_size: 512, attention_heads: 8}",
    "lstm": "model.rnn={embedding_size: 512, hidden_size: 512, num_layers: 2}",
}
SETTINGS = (
    "data.max_sequence_length=128",
    "training.per_device_train_batch_size=32",
    "training.max_steps=5",
    "training.compile=false",
)


@pytest.mark.parametrize("all_rows", [True, False], ids=["all rows", "few rows"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_peak_is_as_planned(
    kind: str, all_rows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all_rows:
        monkeypatch.setitem(memory.MOST_OPERATIONS, "cuda", 1.0)
    config = tiny_experiment(kind, tmp_path, MODELS[kind], *SETTINGS)
    plan = build_plan(config)
    assert plan.memory.tried_rows == (32 if all_rows else 2)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(config)
    assert plan.memory.peak == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.25)


def test_the_largest_batch_is_tried(tmp_path: Path) -> None:
    limit = 2**30 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit)
    try:
        config = tiny_experiment("gpt2", tmp_path, MODELS["gpt2"], *SETTINGS)
        batch = build_plan(config, measure=True).largest_batch
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert batch is not None and batch.how == "tried"
    assert 32 < batch.rows < 2000 and batch.dividing == 32
