"""Without dropout a model in training computes what it computes in evaluation."""

from pathlib import Path

import pytest
import torch

from model_foundry.model import create_model
from model_foundry.training.regularization import remove_dropout
from tests.experiments import MODELS, tiny_experiment

DROPOUT = {
    "transformer": ("dropout=0.5", "attention_dropout=0.5"),
    "backbone": ("dropout=0.5", "attention_dropout=0.5"),
    "rnn": ("dropout=0.5",),
    "huggingface": ("attention_dropout=0.5",),
}


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_is_dropped(kind: str, tmp_path: Path) -> None:
    section = next(name for name in MODELS[kind] if name != "architecture")
    settings = [f"model.{section}.{setting}" for setting in DROPOUT[section]]
    model = create_model(tiny_experiment(kind, tmp_path, *settings), vocab_size=20)
    ids = torch.arange(16).view(2, 8)
    with torch.no_grad():
        evaluated = model.eval()(ids).logits
        dropped = model.train()(ids).logits
        assert not torch.allclose(dropped, evaluated)
        remove_dropout(model)
        assert model.training
        torch.testing.assert_close(model(ids).logits, evaluated)
