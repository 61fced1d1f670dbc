"""Transforms of batches, which an experiment names in `training.transforms`.

A function sees the tensors of one record at a time, and a generator of that record's own. So its
result follows from the seed and the record, whatever batch and process the record is in.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import numpy as np
import pydantic
import torch
from torch import Tensor

from model_foundry.config import TRANSFORMS, ExperimentConfig, TransformSpec
from model_foundry.config.transforms import RESERVED, TransformStep, Wiring, parsed_transform
from model_foundry.data.batches.examples import Examples, Key
from model_foundry.data.batches.loaders import Collate
from model_foundry.errors import ConfigError, FoundryError, is_out_of_memory
from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.plugins import (
    LOADED_PLUGINS,
    describe_error,
    locate_in_files,
    plugin_modules,
)
from model_foundry.objectives.base import Prepared
from model_foundry.objectives.forward_pass import Inputs
from model_foundry.registry import nearest, register_in

F = TypeVar("F", bound=Callable[..., Tensor])
LIBRARIES = ("torch.nn.functional", "torch.special")
"""Modules whose functions an experiment may name; none of them opens a file."""
GENERATOR = "generator"


def register_transform(
    name: str,
    *,
    on: Literal["training", "evaluation", "both"],
    schema: type[pydantic.BaseModel] | None = None,
) -> Callable[[F], F]:
    """Return a decorator that registers a function as a transform of `training.transforms`.

    It is called for each record, with its tensors as the first arguments, without the dimension of
    the batch, and the settings as keywords. It returns a tensor, of one shape for all records of a
    batch. One that takes `generator` is given a `numpy.random.Generator` for the record and the
    pass over the data. What it draws for padding, which is on the right, must come last.

    Args:
        on: the batches that it changes unless an experiment says otherwise.
        schema: pydantic class of its settings; None: it has none.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: it is no function, or a setting has a name that means something else.
    """
    taken = {*Wiring.model_fields, GENERATOR} & (schema.model_fields.keys() if schema else set())
    if name in RESERVED or taken:
        what = f"its setting {min(taken)!r}" if taken else "its name"
        raise TypeError(f"transform {name!r}: {what} has another meaning; choose another name")
    return register_in(TRANSFORMS, TransformSpec, name, on=on, schema=schema)


@dataclass(frozen=True, kw_only=True)
class Renaming:
    """New names for tensors of a batch."""

    field: str
    """Its place in the experiment, for messages."""
    place: int
    """Its number among the transforms."""
    names: Mapping[str, str]
    """The new name of each."""
    on: str = "both"

    def __call__(self, batch: Inputs, keys: Sequence[Key], seed: int) -> Inputs:
        for old, new in self.names.items():
            _require(batch, old, self.field)
            if new in batch.keys() - self.names.keys():
                raise ConfigError(f"{self.field}: the batch has a tensor {new!r} already")
        return {self.names.get(name, name): tensor for name, tensor in batch.items()}


@dataclass(frozen=True, kw_only=True)
class Transform:
    """A function applied to each record of a batch."""

    field: str
    """Its place in the experiment, for messages."""
    place: int
    """Its number among the transforms, by which its draws differ from those of the others."""
    function: Callable[..., Any]
    keys: Mapping[str, str]
    """Name in the batch of each tensor that the function takes, by parameter."""
    to: str
    """Name of the result in the batch."""
    settings: Mapping[str, Any]
    """Further arguments of the function."""
    on: str
    """The batches that it changes: those of training, of evaluation, or both."""

    @cached_property
    def draws(self) -> bool:
        """True if the function takes a generator."""
        return GENERATOR in [each.name for each in _parameters(self.function)]

    def __call__(self, batch: Inputs, keys: Sequence[Key], seed: int) -> Inputs:
        """Return the batch with the result.

        Args:
            keys: (pass, index) of each record.

        Raises:
            ConfigError: a tensor is missing, the function raises, or its results do not fit.
        """
        for parameter, name in self.keys.items():
            if parameter == name and name not in batch:
                raise ConfigError(f"{self.field}: {_unnamed(name, batch)}")
            _require(batch, name, self.field)
        columns = [batch[name] for name in self.keys.values()]
        rows = zip(*columns, strict=True)
        found = [self._one(row, (seed, self.place, *k)) for k, row in zip(keys, rows, strict=True)]
        if len({row.shape for row in found}) > 1:
            shapes = " and ".join(sorted({str(tuple(row.shape)) for row in found})[:2])
            raise ConfigError(f"{self.field}: gives records of the shapes {shapes}; give one")
        return batch | {self.to: torch.stack(found)}

    def _one(self, row: Sequence[Tensor], seed: tuple[int, ...]) -> Tensor:
        given: dict[str, Any] = dict(zip(self.keys, row, strict=True))
        if self.draws:
            given[GENERATOR] = np.random.default_rng(seed)
        try:
            found = self.function(**given, **self.settings)
        except ConfigError as error:
            raise ConfigError(f"{self.field}: {error}") from error
        except (FoundryError, KeyboardInterrupt):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            place = locate_in_files(error, *LOADED_PLUGINS)
            where = f"plugin {place}: " if place else ""
            told = f"{where}{describe_error(error)}{self._remedy(error)}"
            raise ConfigError(f"{self.field}: {told}") from error
        if not isinstance(found, Tensor):
            raise ConfigError(f"{self.field}: must give a tensor, got {short_repr(found)}")
        return found

    def _remedy(self, error: Exception) -> str:
        """Return a remedy for a name that a function built into torch does not take; its own names
        cannot be read, and are not always those of torch's documentation."""
        if not isinstance(error, TypeError) or "input" in self.keys or _parameters(self.function):
            return ""
        law = "torch calls the first tensor of nearly all of its functions 'input'"
        return f"; {law}: keys: {{input: {next(iter(self.keys.values()))}}}"


def _unnamed(parameter: str, batch: Inputs) -> str:
    """Return the law for a tensor that a transform takes by the name of its parameter."""
    meant = nearest(parameter, list(batch)) or next(iter(batch))
    law = f"takes {parameter!r}, which is no tensor of the batch; name one in keys, as in "
    return f"{law}keys: {{{parameter}: {meant}}}; the batch has {', '.join(batch)}"


def _require(batch: Inputs, name: str, field: str) -> None:
    if name not in batch:
        law = f"the batch has no {name!r}; {_hint(name, list(batch))}"
        raise ConfigError(f"{field}: {law}it has {', '.join(batch)}")


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function; none of one that is built into torch."""
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:
        return []


@dataclass(frozen=True)
class Transformed:
    """A function that makes batches, and the transforms that follow it."""

    collate: Collate
    steps: Sequence[Renaming | Transform]
    seed: int

    def __call__(self, examples: Examples) -> Inputs:
        batch = self.collate(examples)
        for step in self.steps:
            batch = step(batch, examples.keys, self.seed)
        return batch


def with_transforms(prepared: Prepared) -> Prepared:
    """Return what a training reads, with the transforms of the experiment.

    Raises:
        ConfigError: as for `transforms_of`.
    """
    steps, seeds = transforms_of(prepared.objective.config), prepared.objective.config.seeds

    def followed(collate: Collate, on: str, seed: int) -> Collate:
        own = [step for step in steps if step.on in (on, "both")]
        return Transformed(collate, own, seed) if own else collate

    return replace(
        prepared,
        collate=followed(prepared.collate, "training", seeds.data),
        # what a study measures on is the same for all seeds of its data
        evaluating=followed(prepared.evaluating, "evaluation", seeds.split),
    )


def transforms_of(config: ExperimentConfig) -> list[Renaming | Transform]:
    """Return the transforms of an experiment.

    Raises:
        ConfigError: a function is unknown, or does not take what it is given.
    """
    steps: list[Renaming | Transform] = []
    for number, entry in enumerate(config.training.transforms):
        step, _ = parsed_transform(entry)
        assert step is not None  # the experiment was checked
        steps.append(_made(step, number, entry))
    return steps


def _made(step: TransformStep, number: int, entry: Mapping[str, Any]) -> Renaming | Transform:
    field = f"training.transforms.{number}.{step.name}"
    if step.name == "rename":
        return Renaming(field=field, place=number, names=step.settings)
    registered = step.name != "function"
    function = TRANSFORMS.load(step.name) if registered else named(entry["function"], field)
    keys = {**_own_tensors(function, step), **step.wiring.keys}
    if not keys:
        raise ConfigError(f"{field}: takes no tensor; name one in keys")
    _require_arguments(function, [*keys, *step.settings], field)
    to = step.wiring.to or next(iter(keys.values()))
    return Transform(
        field=field,
        place=number,
        function=function,
        keys=keys,
        to=to,
        settings=step.settings,
        on=step.on,
    )


def _own_tensors(function: Callable[..., Any], step: TransformStep) -> dict[str, str]:
    """Return the required parameters of a function that no setting fills, as names of tensors."""
    required = [
        each.name
        for each in _parameters(function)
        if each.kind is each.POSITIONAL_OR_KEYWORD and each.default is each.empty
    ]
    return {name: name for name in required if name not in {*step.settings, GENERATOR}}


def _require_arguments(function: Callable[..., Any], given: Sequence[str], field: str) -> None:
    parameters = _parameters(function)
    if not parameters or any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    known = [each.name for each in parameters]
    for name in given:
        if name not in known:
            law = f"the function takes no {name!r}; {_hint(name, known)}"
            raise ConfigError(f"{field}: {law}it takes {', '.join(known)}")


def named(name: str, field: str) -> Callable[..., Any]:
    """Return a function of a library or of a plugin's file, `module:name`; nothing is imported.

    Raises:
        ConfigError: there is none of that name.
    """
    module, _, attribute = name.partition(":")
    known = {library: sys.modules[library] for library in LIBRARIES} | plugin_modules()
    if module not in known:
        law = f"must be module:name, of {', '.join(known)} or another file given with --plugin"
        raise ConfigError(f"{field}: {law}, since an experiment imports nothing; got {name!r}")
    functions = {
        key: value
        for key, value in vars(known[module]).items()
        if callable(value) and not isinstance(value, type) and not key.startswith("_")
    }
    if attribute not in functions:
        law = f"{module!r} has no function {attribute!r}; {_hint(attribute, list(functions))}"
        raise ConfigError(f"{field}: {law}name another")
    return cast(Callable[..., Any], functions[attribute])


def _hint(name: str, known: Sequence[str]) -> str:
    near = nearest(name, list(known))
    return f"did you mean {near!r}? " if near else ""
