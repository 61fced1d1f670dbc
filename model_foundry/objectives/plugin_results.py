"""Checks of what the methods of a task return, so that a slip is told with its class and method."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor

from model_foundry.architectures.plugin_check import plugin_fault, plugin_method
from model_foundry.data.batches.examples import Ragged
from model_foundry.errors import DataError
from model_foundry.foundation.messages import short_repr
from model_foundry.objectives.base import Objective
from model_foundry.objectives.processors import Processor, load_processors, save_processors

NUMBERS = "biufc"  # kinds of numpy types


def require_columns(task: type, columns: Any) -> None:
    """Require that `encode` of a task returned arrays of numbers by name.

    Raises:
        ConfigError: it did not.
    """
    if not isinstance(columns, Mapping) or not columns:
        raise plugin_fault(task, "encode", f"must return a dict of arrays, got {_kind(columns)}")
    for name, column in columns.items():
        array = np.asarray(column.values if isinstance(column, Ragged) else column)
        if array.dtype.kind not in NUMBERS or not array.ndim:
            found = f"an array of {array.dtype}" if array.ndim else _kind(column)
            problem = f"column {name!r} must be an array of numbers (N, ...), got {found}"
            raise plugin_fault(task, "encode", problem)


def require_batch(task: type, batch: Any, number: int) -> None:
    """Require that the function of a task's `collate` made tensors of `number` examples.

    Raises:
        ConfigError: it did not.
    """
    if not isinstance(batch, dict) or not batch:
        problem = f"its function must return a dict of tensors, got {_kind(batch)}"
        raise plugin_fault(task, "collate", problem)
    for name, value in batch.items():
        if not isinstance(value, Tensor):
            problem = f"its function must give {name!r} as a tensor, got {_kind(value)}"
            raise plugin_fault(task, "collate", problem)
        if not value.dim() or len(value) != number:
            problem = f"its function gives {name!r} of shape {tuple(value.shape)} for {number} "
            raise plugin_fault(task, "collate", f"{problem}examples; must be ({number}, ...)")


def require_plain_data(task: type, method: str, found: Any) -> None:
    """Require that a method of a task returned JSON types by name.

    Raises:
        ConfigError: it did not.
    """
    if not isinstance(found, dict):
        raise plugin_fault(task, method, f"must return a dict, got {_kind(found)}")
    for name, value in found.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            problem = f"{name!r} must be of JSON types, got {_kind(value)}"
            remedy = "convert it with int, float, str or tolist"
            raise plugin_fault(task, method, f"{problem}; {remedy}") from error


def require_round_trip(task: type[Objective], processors: Any) -> None:
    """Require that the processors that `learn` of a task returned are read as they were written.

    Raises:
        ConfigError: one is not, or is no processor of the task's `processor_types`.
    """
    if not isinstance(processors, dict):
        raise plugin_fault(task, "learn", f"must return a dict by role, got {_kind(processors)}")
    for role, processor in processors.items():
        cls, named = type(processor), task.processor_types.get(role)
        if named is None or not isinstance(processor, named):
            problem = f"gives the role {role!r} a {cls.__name__}, which processor_types must name"
            raise plugin_fault(task, "learn", problem)
        with TemporaryDirectory() as place:
            with plugin_method(cls, "save"):
                save_processors({role: processor}, Path(place), positions=None)
            with plugin_method(cls, "load"):
                found = _loaded(named, role, Path(place))
        if found.sha256 != processor.sha256:
            law = f"the processor {role!r} that it reads has another sha256 than the one saved"
            raise plugin_fault(cls, "load", f"{law}; let save and load agree")


def _loaded(cls: type[Processor], role: str, place: Path) -> Processor:
    try:
        return load_processors({role: cls}, place)[role]
    except DataError as error:
        problem = f"cannot read what save wrote ({error}); let save and load agree"
        raise plugin_fault(cls, "load", problem) from error


def _kind(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} {short_repr(value)}"
