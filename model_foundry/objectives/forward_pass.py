"""`ForwardPass`: the output of a model on a batch, as losses and metrics see it.

Letters of shapes: N targets, C classes (entries of a vocabulary, labels).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures import ModelOutput
from model_foundry.architectures.plugin_check import plugin_fault
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX

Inputs = dict[str, Tensor]
OUTPUTS = tuple(each.name for each in fields(ModelOutput))
"""Names of what a model returns; a loss or metric finds all others in the batch."""


class LogitsError(ConfigError):
    """The logits of a model cannot be used."""

    def __init__(self, law: str) -> None:
        super().__init__(f"model.architecture: {law}; correct its forward method")
        self.law = law


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """One forward pass over a batch."""

    model: Callable[..., ModelOutput]
    """The model, wrapped while it is trained; a metric of evaluations can let it generate."""
    output: ModelOutput
    inputs: Inputs
    """Every tensor of the batch, including those that the model is not given."""
    targets: Mapping[str, int]
    """Number of targets of each loss."""
    terms: Mapping[str, Any]
    """The method `mean` of each loss, which gives its mean over its targets, given this."""
    align: Callable[[ModelOutput, Inputs], tuple[Tensor, Tensor]]
    """See `Objective.aligned`."""
    keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """See `TrainingConfig.keys`."""

    def read_by(self, name: str) -> "ForwardPass":
        """Return it as a loss or metric sees it, by the names that it asks for.

        Raises:
            ConfigError: neither the model nor the batch has such a tensor.
        """
        keys = self.keys.get(name)
        if not keys:
            return self
        outputs = {ours: given for ours, given in keys.items() if ours in OUTPUTS}
        found = {ours: getattr(self.output, ours, None) for ours in OUTPUTS}
        for ours, given in outputs.items():
            found[ours] = getattr(self.output, given, None)
            if found[ours] is None:
                raise ConfigError(f"training.keys.{name}.{ours}: the model returns no {given!r}")
        inputs = renamed(self.inputs, name, keys)
        return replace(self, output=ModelOutput(**found), inputs=inputs, keys={})

    @cached_property
    def losses(self) -> dict[str, Tensor]:
        """The mean of each loss over its targets, a scalar in nats; zero if there are none.

        Raises:
            ConfigError: a loss is no scalar.
        """
        losses = {name: term(self.read_by(name)) for name, term in self.terms.items()}
        for name, loss in losses.items():
            if not isinstance(loss, Tensor) or loss.dim():
                law = f"{name!r} must be a scalar tensor, got {_shape_of(loss)}"
                raise plugin_fault(type(self.terms[name].__self__), "mean", law)
        return losses

    @cached_property
    def predictions(self) -> tuple[Tensor, Tensor]:
        """The logits at the targets, (N, C) in fp32, and the targets, (N,).

        Raises:
            ConfigError: the logits do not fit the targets.
        """
        logits, targets = self._fitting()
        scored = is_target(targets)
        return logits[scored].float(), targets[scored]

    def classified(self, field: str, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (..., C), targets (...) and a mask of what counts, without copying logits.

        Args:
            field, name: of the loss or metric that needs classes, for messages.

        Raises:
            ConfigError: the predictions are none of classes.
        """
        logits, targets = self._fitting()
        _require_classes(logits, targets, field, name)
        return logits, targets, is_target(targets)

    def _fitting(self) -> tuple[Tensor, Tensor]:
        logits, targets = self.align(self.output, self.inputs)
        if logits.shape[: targets.dim()] != targets.shape:
            found = f"(..., C) or (...) for targets (...), got {_shapes(logits, targets)}"
            raise LogitsError(f"the logits must be {found}")
        return logits, targets

    def require_classes(self, field: str, name: str) -> None:
        """Require predictions of classes, if there are logits; `field` names what needs them.

        Raises:
            ConfigError: the logits are not (..., C) with integer targets (...).
        """
        if self.output.logits is not None:
            _require_classes(*self.align(self.output, self.inputs), field, name)


def renamed(inputs: Inputs, name: str, keys: Mapping[str, str]) -> Inputs:
    """Return the tensors of a batch by the names that a loss or metric asks for, too.

    Args:
        name: of the loss or metric, for messages.
        keys: the name in the batch of each tensor that it asks for; those of outputs are skipped.

    Raises:
        ConfigError: the batch has no such tensor.
    """
    wanted = {ours: given for ours, given in keys.items() if ours not in OUTPUTS}
    for ours, given in wanted.items():
        if given not in inputs:
            law = f"the batch has no {given!r}; it has {', '.join(inputs)}"
            raise ConfigError(f"training.keys.{name}.{ours}: {law}")
    return inputs | {ours: inputs[given] for ours, given in wanted.items()}


def is_target(labels: Tensor) -> Tensor:
    """Return True at each target: real numbers all are, integers unless they are `IGNORE_INDEX`."""
    if _is_real(labels):
        return torch.ones_like(labels, dtype=torch.bool)
    return labels.long() != IGNORE_INDEX  # an unsigned type would make another number of it


def _require_classes(logits: Tensor, targets: Tensor, field: str, name: str) -> None:
    if _is_real(targets) or logits.dim() != targets.dim() + 1:
        found = f"{targets.dtype} {_shapes(targets, logits)}".removeprefix("torch.")
        law = f"{name!r} needs integer targets (N,) and logits (N, C), got {found}"
        raise ConfigError(f"{field}: {law}; name another")


def _shapes(*tensors: Tensor) -> str:
    return " and ".join(f"{tuple(tensor.shape)}" for tensor in tensors)


def _is_real(values: Tensor) -> bool:
    return values.is_floating_point() or values.is_complex()


def _shape_of(value: object) -> str:
    if isinstance(value, Tensor):
        return f"the shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def in_double(values: Tensor) -> Tensor:
    """Return values in fp64, on the CPU if their device has no such numbers."""
    return (values.cpu() if values.device.type == "mps" else values).to(torch.float64)
