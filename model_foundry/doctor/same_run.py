"""Bit-for-bit comparison of two finished runs.

Compared are weights, their average, optimizer, random generators and counters of each checkpoint
that both runs have, the final models, the measurements and the log. Times are not compared.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from model_foundry.errors import CheckpointError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.checkpoint.optimizer_state import NUMBERS_FILE
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.run_fingerprint import changes

CLOCKED = re.compile("attempt|time|train/.*_per_second|train/peak_memory_mib")


def differences(first: Path, second: Path) -> list[str]:
    """Return the differences of two run directories, a line each.

    Raises:
        OSError: one of them is not the directory of a finished run.
    """
    one, other = RunDirectory(first), RunDirectory(second)
    return [
        *_log_differences(one, other),
        *_tensor_differences(one.model, other.model, "model"),
        *_average_differences(one, other),
        *_checkpoint_differences(one, other),
        *_measurement_differences(one, other),
    ]


def _log_differences(one: RunDirectory, other: RunDirectory) -> Iterator[str]:
    logs = [[_timeless(line) for line in read_metrics(r.metrics_file)] for r in (one, other)]
    if len(logs[0]) != len(logs[1]):
        yield f"log: {len(logs[0])} lines and {len(logs[1])}"
    for ours, theirs in zip(*logs, strict=False):
        yield from (f"log, step {ours['step']}: {line}" for line in changes(ours, theirs))


def _timeless(line: Mapping[str, Any]) -> dict[str, Any]:
    # as text, because NaN is unequal to itself; Python writes a float so that it reads back exactly
    return {name: repr(value) for name, value in line.items() if not CLOCKED.fullmatch(name)}


def _checkpoint_differences(one: RunDirectory, other: RunDirectory) -> Iterator[str]:
    names = [{path.name for path in step_directories(r.checkpoints)} for r in (one, other)]
    common = sorted(names[0] & names[1])
    if not common:
        yield "checkpoints: the runs have none in common"
    for name in common:
        directories = one.checkpoints / name, other.checkpoints / name
        try:
            states = [read_state(directory) for directory in directories]
        except CheckpointError as error:
            yield f"{name}: {error}"
            continue
        compared = {"counters", "random", "scaler", "train_metrics"}
        facts = [
            state.model_dump(include=compared) | {"optimizer": _numbers(directory)}
            for state, directory in zip(states, directories, strict=True)
        ]
        yield from (f"{name}: {line[:200]}" for line in changes(facts[0], facts[1]))
        yield from _tensor_differences(*directories, name)


def _average_differences(one: RunDirectory, other: RunDirectory) -> Iterator[str]:
    """Yield the differences of the averages of the weights, if one of the runs has one."""
    places = one.averaged_model, other.averaged_model
    if any(place.is_dir() for place in places):
        yield from _tensor_differences(*places, "model_ema")


def _numbers(checkpoint: Path) -> dict[str, str]:
    """Return the numbers of an optimizer as text; a checkpoint for analysis has none."""
    if not (checkpoint / NUMBERS_FILE).exists():
        return {}
    found = json.loads((checkpoint / NUMBERS_FILE).read_text(encoding="utf-8"))["numbers"]
    return {key: repr(value) for key, value in found.items()}


def _tensor_differences(one: Path, other: Path, label: str) -> Iterator[str]:
    files = [{path.name for path in d.glob("*.safetensors")} for d in (one, other)]
    if not files[0] | files[1]:
        yield f"{label}: neither of the runs has one"
    yield from (f"{label}: only one of the runs has {name}" for name in files[0] ^ files[1])
    for file in sorted(files[0] & files[1]):
        tensors = load_file(one / file), load_file(other / file)
        for name in sorted(tensors[0].keys() | tensors[1].keys()):
            if not same_bits(tensors[0].get(name), tensors[1].get(name)):
                yield f"{label}/{file}: {name} differs"


def same_bits(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Return True if two tensors have the same type, shape and bits; None equals nothing."""
    if one is None or other is None or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)))


def _measurement_differences(one: RunDirectory, other: RunDirectory) -> Iterator[str]:
    names = [{path.name for path in r.evaluation.glob("*.json")} for r in (one, other)]
    yield from (f"evaluation: only one of the runs has {name}" for name in names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        measured = [json.loads((r.evaluation / name).read_text()) for r in (one, other)]
        texts = [{key: repr(value) for key, value in m.items()} for m in measured]
        yield from (f"evaluation/{name}: {line}" for line in changes(texts[0], texts[1]))
