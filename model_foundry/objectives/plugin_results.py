"""Checks of what the methods of a task return, so that a slip is told with its class and method."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_foundry.architectures import BaseModel, CountedModel
from model_foundry.architectures.plugin_check import plugin_fault, plugin_method
from model_foundry.config import METRICS
from model_foundry.data.batches.examples import Column, Ragged
from model_foundry.data.batches.loaders import evaluation_batches
from model_foundry.data.sources.records import Records
from model_foundry.data_collators import PaddingCollator
from model_foundry.errors import DataError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.plugins import locate_class
from model_foundry.objectives.base import Objective, Prepared
from model_foundry.objectives.forward_pass import Inputs
from model_foundry.objectives.processors import Processor, place_of, save_processors
from model_foundry.registry import nearest

NUMBERS = "biufc"  # kinds of numpy types
EXAMPLES = 8  # of a batch for a check


def parts_of(objective: Objective) -> list[type]:
    """Return the classes of a task, of its losses and of its metrics."""
    names = (*objective.metric_names, *objective.config.training.train_metrics)
    losses = map(type, objective.losses.values())
    return [type(objective), *losses, *map(METRICS.load, names)]


def require_names(task: type, columns: Any) -> None:
    """Require that `columns` of a task are names.

    Raises:
        ConfigError: they are not.
    """
    names = isinstance(columns, Sequence) and all(isinstance(name, str) for name in columns)
    if not names or isinstance(columns, str):
        kind = "a method; make it a property" if callable(columns) else _kind(columns)
        raise plugin_fault(task, "columns", f"must be a list of names, got {kind}")


def require_columns(task: type, columns: Any) -> None:
    """Require that `encode` of a task returned arrays of numbers by name.

    Raises:
        ConfigError: it did not.
    """
    if not isinstance(columns, Mapping) or not columns:
        raise plugin_fault(task, "encode", f"must return a dict of arrays, got {_kind(columns)}")
    for name, column in columns.items():
        try:
            array = np.asarray(column.values if isinstance(column, Ragged) else column)
        except ValueError as error:
            problem = f"column {name!r} has rows of unequal length; join them with Ragged.of"
            raise plugin_fault(task, "encode", problem) from error
        if array.dtype.kind not in NUMBERS or not array.ndim:
            found = f"an array of {array.dtype}" if array.ndim else _kind(column)
            problem = f"column {name!r} must be an array of numbers (N, ...), got {found}"
            raise plugin_fault(task, "encode", problem)


def require_ragged(task: Any, columns: Mapping[str, Column]) -> None:
    """Require that the units, fillers and masks of a task are those of ragged columns.

    Args:
        task: a class of `RecordObjective`.

    Raises:
        ConfigError: they are not, or a mask has the name of another tensor.
    """
    named = [("units", name) for name in task.units.values()]
    named += [(given, name) for given in ("fillers", "masks") for name in getattr(task, given)]
    for attribute, name in named:
        if isinstance(columns.get(name), Ragged):
            continue
        law = f"names {name!r}, which encode gives as a dense column"
        remedy = "join its rows with Ragged.of"
        if name not in columns:
            meant = nearest(name, list(columns))
            law = f"names {name!r}, which is no column of encode"
            remedy = f"did you mean {meant!r}?" if meant else f"it gives {', '.join(columns)}"
        raise plugin_fault(task, attribute, f"{law}; {remedy}")
    masks = list(task.masks.values())
    for name in masks:
        if name in columns or masks.count(name) > 1:
            other = "a column of encode" if name in columns else "another mask"
            law = f"the mask {name!r} has the name of {other}; give it one of its own"
            raise plugin_fault(task, "masks", law)


def require_finite(task: type, columns: Mapping[str, Column], records: Records) -> None:
    """Require that the columns that `encode` of a task made of some records are finite.

    Raises:
        DataError: one is not; the message names the first such record.
    """
    for name, column in columns.items():
        values = np.asarray(column.values if isinstance(column, Ragged) else column)
        for place in np.argwhere(~np.isfinite(values))[:1]:
            row = int(place[0])
            if isinstance(column, Ragged):
                row = int(np.searchsorted(column.bounds, row, side="right")) - 1
            where = records.where(row) if len(column) == len(records) else records.source
            law = f"{task.__name__}.encode gives {name!r} the value {values[tuple(place)]}"
            remedy = "correct the record or remove it, or correct encode"
            raise DataError(f"{where}: {law}, not a finite number; {remedy}")


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


def first_batch(prepared: Prepared, number: int) -> Inputs:
    """Return a batch of the first training examples, after a trial of the one for evaluations.

    Args:
        number: of examples, if there are as many.

    Raises:
        ConfigError: `collate` of the task raises, or gives no tensors of the examples.
    """
    task, number = type(prepared.objective), min(number, len(prepared.train))
    examples = prepared.train.read([(0, index) for index in range(number)], evaluating=True)
    for collate in (prepared.evaluating, prepared.collate):
        with plugin_method(task, "collate"):
            batch = collate(examples)
        require_batch(task, batch, number)
    return batch


def require_targets(prepared: Prepared) -> None:
    """Require that each split of a task has a target.

    Raises:
        ConfigError: as for `first_batch`.
        DataError: a split has none.
    """
    objective = prepared.objective
    first_batch(prepared, EXAMPLES)
    for name, examples in prepared.splits.items():
        if name == "train" and not isinstance(prepared.collate, PaddingCollator):
            continue  # what a function draws anew may have targets in another pass
        collate = prepared.collate if name == "train" else prepared.evaluating
        batches = evaluation_batches(examples, collate, batch_size=EXAMPLES)
        if not any(any(objective.targets(batch.inputs).values()) for batch in batches):
            remedy = f"data.{name}" + " or data.validation_fraction" * (name == "validation")
            law = f"none of the {len(examples):,} examples has a target (a label other than "
            law += f"{IGNORE_INDEX}); give other data ({remedy}), or correct the labels that "
            raise DataError(f"data.{name}: {law}{type(objective).__name__} makes")


def require_inputs(task: Objective, model: BaseModel, inputs: Inputs) -> None:
    """Require that a model takes the tensors that a task gives it, by name and by precision.

    Raises:
        ConfigError: it does not take one, requires another, or one is fp64 and no weight is.
    """
    if type(task).forward is Objective.forward:
        for method in ("count", "forward") if isinstance(model, CountedModel) else ("forward",):
            _require_names(task, type(model), method, list(inputs))
    doubles = [name for name, tensor in inputs.items() if tensor.dtype == torch.float64]
    weights = {weight.dtype for weight in model.parameters()}  # of counts there are none
    if doubles and weights and torch.float64 not in weights:
        source = task.source_of(doubles[0])
        remedy = "float()" if source == "collate" else "astype(np.float32)"
        law = f"gives {doubles[0]!r} as float64, and the weights are float32"
        raise plugin_fault(type(task), source, f"{law}; convert it with {remedy}")


def _require_names(task: Objective, model: type, method: str, given: Sequence[str]) -> None:
    """Require that a method of a model takes arguments of these names, and needs no others."""
    taken = list(inspect.signature(getattr(model, method)).parameters.values())[1:]
    kinds = {each.kind for each in taken}
    named = [each for each in taken if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    free = [each.name for each in named if each.name not in given]
    missing = [each.name for each in named if each.name in free and each.default is each.empty]
    known = given if inspect.Parameter.VAR_KEYWORD in kinds else [each.name for each in named]
    unknown = [name for name in given if name not in known]
    taker = f"{model.__name__}.{method} ({locate_class(model, method)})"
    if unknown:
        name, law = unknown[0], f"gives {unknown[0]!r}, which {taker} does not take"
        meant = nearest(name, free) or next(iter(missing), None)
    elif missing:
        name, law = missing[0], f"gives no {missing[0]!r}, which {taker} requires"
        meant = nearest(name, [name for name in given if name not in {each.name for each in named}])
    else:
        return
    hint = f"did you mean {meant!r}? " if meant else ""
    names = f"given are {', '.join(given)}; {method} takes {', '.join(each.name for each in named)}"
    raise plugin_fault(type(task), task.source_of(name), f"{law}; {hint}{names}")


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
        ConfigError: one is not, or they are not those of the task's `processor_types`.
    """
    if not isinstance(processors, dict):
        raise plugin_fault(task, "learn", f"must return a dict by role, got {_kind(processors)}")
    for role, processor in processors.items():
        named = task.processor_types.get(role)
        if named is None or not isinstance(processor, named):
            given = type(processor).__name__
            problem = f"gives the role {role!r} a {given}, which processor_types must name"
            raise plugin_fault(task, "learn", problem)
    if missing := sorted(task.processor_types.keys() - processors.keys()):
        raise plugin_fault(task, "learn", f"gives no {missing[0]!r}, which processor_types names")
    with TemporaryDirectory() as model, TemporaryDirectory() as run:
        for role, processor in processors.items():
            with plugin_method(type(processor), "save"):
                save_processors({role: processor}, Path(model), positions=None)
                (alone := Path(run, role)).mkdir()
                processor.save(alone, alone=True)
        for role, processor in processors.items():  # now that no other is written there
            named = task.processor_types[role]
            for place in (place_of(role, named, Path(model)), Path(run, role)):
                _require_equal(processor, named, role, place)


def _require_equal(processor: Processor, named: type[Processor], role: str, place: Path) -> None:
    cls = type(processor)
    try:
        with plugin_method(cls, "load"):
            found = named.load(place)
    except DataError as error:
        problem = f"cannot read what save wrote ({error}); let save and load agree"
        raise plugin_fault(named, "load", problem) from error
    if found.sha256 != processor.sha256:
        law = f"the processor {role!r} that it reads has another sha256 than the one saved"
        raise plugin_fault(cls, "load", f"{law}; let save and load agree")


def _kind(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} {short_repr(value)}"
