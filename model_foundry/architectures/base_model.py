"""`BaseModel`, the interface of a model of any kind, and `CountedModel`, of one without gradients.

Language models have more in common: see `base.BaseLanguageModel`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from model_foundry.architectures.memory import require_memory_left
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.saving import native_format
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import reason_of

# Exceptions of `from_config` for arguments that describe no model, such as sizes and ids.
NO_SUCH_MODEL = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters, or of the buffers if it has none."""
    return next(chain(model.parameters(), model.buffers())).device


class BaseModel(nn.Module, ABC):
    """A model of any architecture and kind.

    `model(**inputs).loss.backward()` works for every one of them that is trained by gradients.
    """

    build_record: native_format.Record | None = None
    """The arguments of `create_model_from_config`; None if the model was made otherwise."""
    runs_when_created: ClassVar[bool] = False
    """True if `from_config` also runs the model, to find settings that do not fit together."""
    base_model_prefix: ClassVar[str] = ""
    """Name of the `base_model`; empty: it is the model itself."""
    is_body_frozen = False
    """True if the body is not trained, and computes as in evaluation."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        """Make a model with random weights, drawn from torch's global generator.

        Args:
            config: the experiment; an architecture reads its own section below `config.model`.
            **arguments: sizes and names that follow from the data, as the `model_arguments` of the
                objective gives them; plain JSON.
        """

    @classmethod
    def check_settings(cls, config: ExperimentConfig) -> None:
        """Check what `from_config` can refuse without the data, before they are read.

        Raises:
            ConfigError: a setting is wrong.
        """

    @abstractmethod
    def forward(self, *given: Any, **inputs: Any) -> ModelOutput:
        """Compute the outputs and, given labels, the loss.

        The loss is the mean over the targets; without any it is zero and has a graph. Examples of
        a batch do not influence each other.

        Args:
            **inputs: tensors of the batch by name, examples first; `labels` are the targets.
                Callers give names only, so a class may take none in `given`.
        """

    @property
    def base_model(self) -> nn.Module:
        """The body, which `model.init_from` keeps for another task."""
        return self.get_submodule(self.base_model_prefix)

    def freeze_body(self) -> None:
        """Train the head alone: the body gets no gradients, and no dropout."""
        self.is_body_frozen = True
        self.base_model.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules, except a frozen body."""
        super().train(mode)
        if self.is_body_frozen:
            self.base_model.eval()
        return self

    @property
    @abstractmethod
    def model_type(self) -> str:
        """The name under which the architecture is registered."""

    @property
    def supports_generation(self) -> bool:
        """True if the model continues text from left to right."""
        return False

    @property
    def num_positions(self) -> int | None:
        """The maximum number of tokens in a row; None: any number."""
        return None

    @property
    def attention_in_use(self) -> str | None:
        """The attention kernel, by its name in transformers; None: no attention."""
        return None

    @property
    def computes_loss_alone(self) -> bool:
        """True if `forward` accepts `return_logits=False`, so that no logits need be kept."""
        return False

    @property
    def carries_state(self) -> bool:
        """True if a text can be read in pieces, each from the state after the last one."""
        return False

    def state_tensors(self, past_key_values: Any) -> dict[str, Tensor]:
        """Return the state of an output, (B, ...) each, detached from its graph.

        Raises:
            ConfigError: the architecture carries no state.
        """
        raise self._no_carried_state()

    def state_from(self, tensors: Mapping[str, Tensor]) -> Any:
        """Return `past_key_values`, given the result of `state_tensors`.

        Raises:
            ConfigError: the architecture carries no state.
            ValueError: the tensors are not a state of this model.
        """
        raise self._no_carried_state()

    def require_carried_state(self) -> None:
        """Raise a `ConfigError` unless the model `carries_state`."""
        if not self.carries_state:
            raise self._no_carried_state()

    def _no_carried_state(self) -> ConfigError:
        return ConfigError(
            f"training.carry_state (=true) is not supported by {self.model_type!r}; leave it out."
        )

    def require_generation(self) -> None:
        """Raise a `ConfigError` unless the model continues text."""
        raise ConfigError(
            f"{self.model_type!r} is no language model and cannot generate text; use a model that "
            "was trained with the objective causal_lm."
        )

    def get_parameter_count(self, trainable_only: bool = False) -> int:
        """Return the number of parameters; tied ones count once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not trainable_only)

    def get_memory_footprint(self) -> int:
        """Return the bytes of all parameters and buffers."""
        return sum(t.nbytes for t in (*self.parameters(), *self.buffers()))

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations in the backward pass instead of keeping them.

        Raises:
            ConfigError: the architecture does not support it.
        """
        raise self._no_gradient_checkpointing()

    def require_gradient_checkpointing(self) -> None:
        """Raise a `ConfigError` unless `gradient_checkpointing_enable` is overridden."""
        own = type(self).gradient_checkpointing_enable
        if own is BaseModel.gradient_checkpointing_enable:
            raise self._no_gradient_checkpointing()

    def _no_gradient_checkpointing(self) -> ConfigError:
        return ConfigError(
            f"training.gradient_checkpointing (=true) is not supported by {self.model_type!r}; "
            "leave it out."
        )

    def compile_for_training(self) -> None:
        """Compile the model in place, by default all of it."""
        self.compile()

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the model to a directory: weights as safetensors, the rest as JSON."""
        if self.build_record is None:
            raise RuntimeError(
                f"{type(self).__name__} was not made by create_model_from_config; use that, or "
                "override save_pretrained and load_directory."
            )
        native_format.save_model_files(self, self.build_record, Path(directory))

    @classmethod
    def from_pretrained(cls, directory: str | Path, **kwargs: Any) -> Self:
        """Load a saved model, as the class registered for it.

        Args:
            directory: a model directory. Nothing is downloaded and none of its code is run.
            **kwargs: arguments of the architecture's `load_directory`.

        Raises:
            ConfigError: the directory holds no model, or one of another architecture than `cls`.
        """
        directory = Path(directory)
        name, registered = native_format.saved_class(directory)
        if not issubclass(registered, cls):
            raise ConfigError(
                f"{directory}: holds the architecture {name!r} ({registered.__name__}), "
                f"not a {cls.__name__}; use {registered.__name__}.from_pretrained."
            )
        return cast(Self, registered.load_directory(directory, **kwargs))

    @classmethod
    def load_directory(cls, directory: Path) -> Self:
        """Load a directory that holds this architecture.

        Raises:
            ConfigError: it was not saved by this package, or its weights do not fit.
        """
        record = native_format.read_config_json(directory)
        source = str(directory / native_format.CONFIG)
        config, arguments = native_format.read_record(record, source)
        try:
            model = cls.from_config(config, **arguments)
        except NO_SUCH_MODEL as error:
            require_memory_left(error, directory)
            reason = f"describes no {cls.__name__}: {reason_of(error)}"
            raise ConfigError(f"{source}: {reason}") from error
        native_format.load_weights(model, directory)
        model.build_record = record
        return model


class CountedModel(BaseModel):
    """A model that learns by counting over one pass, such as an n-gram model.

    Its counts are buffers of integers in the state dict; one that grows begins with a size of 0. It
    computes outputs and losses from them at any time; without counts, all outcomes are equally
    likely.
    """

    @abstractmethod
    def count(self, **inputs: Any) -> None:
        """Add the counts of a batch to the buffers.

        Counts add up: two batches give the counts of both in one, in any order. Each of several
        processes counts the batches of all.

        Args:
            **inputs: as for `forward`.
        """

    def allocate(self, saved: Mapping[str, Tensor]) -> None:
        """Give each buffer the size of a saved one in the dimensions that are 0, as they may grow.

        Args:
            saved: by name in the state dict; what does not fit otherwise is left to
                `load_state_dict`, which refuses it.
        """
        for name, table in list(self.named_buffers()):
            if name not in saved or table.dim() != saved[name].dim() or table.numel():
                continue
            place, _, own = name.rpartition(".")
            shape = [size or new for size, new in zip(table.shape, saved[name].shape, strict=True)]
            setattr(self.get_submodule(place), own, table.new_empty(shape))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict, after `allocate`."""
        self.allocate(state_dict)
        return super().load_state_dict(state_dict, strict, assign)
