"""Checkpoints and the final model: plain HuggingFace directories, without pickle.

Tensors are kept in safetensors, the rest in JSON. `commit_directory` is the one point at which a
checkpoint comes to be: before it there is nothing that a reader would take for one.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.durable import commit_directory
from model_foundry.training.state import TrainState

STATE_FORMAT = 1


def save_model(
    directory: Path, model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write model and tokenizer as one directory that `transformers` loads."""
    with commit_directory(directory) as aside:
        _write_model(aside, model, tokenizer)


def save_checkpoint(
    directory: Path,
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    optimizer: torch.optim.Optimizer,
    state: TrainState,
) -> None:
    """Write model, tokenizer, optimizer and counters as one directory."""
    with commit_directory(directory) as aside:
        _write_model(aside, model, tokenizer)
        save_file(optimizer_tensors(model, optimizer), aside / "optimizer.safetensors")
        facts = {"format": STATE_FORMAT, **asdict(state)}
        (aside / "state.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Return the optimizer's tensors under `<parameter name>/<kind>`."""
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{kind}": tensor.detach().contiguous().cpu()
        for parameter, moments in optimizer.state.items()
        for kind, tensor in moments.items()
    }


def _write_model(
    directory: Path, model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
