"""`Objective`: a task, from the data of an experiment to its losses and metrics.

The training loop, the checkpoints and the evaluation use nothing else of a task. `language` has the
objectives of text, `records` the base of those that read rows with named columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseModel, ModelOutput
from model_foundry.architectures.plugin_check import is_ours, plugin_fault
from model_foundry.config import LOSSES, METRICS, OBJECTIVES, ExperimentConfig, ObjectiveSpec
from model_foundry.data.batches.examples import ExampleSet
from model_foundry.data.batches.loaders import Collate
from model_foundry.objectives.forward_pass import (
    ForwardPass,
    Inputs,
    LogitsError,
    is_target,
    renamed,
)
from model_foundry.objectives.losses import Loss
from model_foundry.objectives.processors import TOKENIZER, Processor, Processors, TextTokenizer

EXAMPLES_OF_A_CHECK = 8


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that a training reads."""

    objective: "Objective"
    processors: Processors
    """By role; {}: the task needs none."""
    collate: Collate
    """For training."""
    evaluating: Collate
    """For evaluation; what it draws is the same for all seeds of a study."""
    train: ExampleSet
    validation: ExampleSet
    test: ExampleSet | None
    """None: the experiment has no test data."""

    def __post_init__(self) -> None:
        self.objective.processors = self.processors

    @property
    def splits(self) -> dict[str, ExampleSet]:
        """The examples of each split that there is."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: examples for name, examples in splits.items() if examples is not None}

    @property
    def content(self) -> dict[str, str]:
        """SHA-256 of everything that training and its evaluations read."""
        noun = "text" if self.objective.spec.reads_token_stream else "data"
        return {
            f"training {noun}": self.train.content_sha256,
            f"validation {noun}": self.validation.content_sha256,
            **{role: processor.sha256 for role, processor in self.processors.items()},
        }

    def first_batch(self) -> dict[str, Tensor]:
        """Return a batch of the first training examples, as the model is given it."""
        keys = [(0, index) for index in range(min(EXAMPLES_OF_A_CHECK, len(self.train)))]
        return self.objective.given(self.collate(self.train.read(keys)))

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer in the role `tokenizer`, which there must be."""
        processor = self.processors[TOKENIZER]
        assert isinstance(processor, TextTokenizer)
        return processor.tokenizer


@dataclass(frozen=True)
class Inspection:
    """The findings of `foundry validate` about the data of an experiment."""

    lines: list[str]
    """One for each split."""
    model_arguments: dict[str, Any]
    """See `Objective.model_arguments`."""
    sizes: str
    """What the size of the model follows from."""
    prepared: Prepared | None = None
    """What a training would read; None: it was not read."""


class Objective(ABC):
    """A task of an experiment.

    Attributes:
        spec: what the configuration knows of it.
        losses: the losses of the experiment, by name.
        weights: the weight of each.
        processors: those of the prepared data, by role; {}: nothing is prepared yet.
        undefined: metrics that had no finite figure, of which a warning was given.
    """

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {}
    """The class of each processor, by role; those of a run that resumes are loaded, not made."""
    withheld: ClassVar[tuple[str, ...]] = ()
    """Names of tensors that only losses and metrics read; the model is not given them."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config
        self.spec: ObjectiveSpec = OBJECTIVES[config.training.objective]
        self.weights: dict[str, float] = config.training.losses or self.spec.losses
        self.losses: dict[str, Loss] = {name: LOSSES.load(name)(self) for name in self.weights}
        self.processors: Processors = {}
        self.undefined: set[str] = set()

    @property
    def settings(self) -> Any:
        """The section of the objective, `training.<name>`; None: it has none."""
        return self.config.training.section_of(self.spec.name)

    # the data

    @abstractmethod
    def prepare(self, kept: Path | None = None) -> Prepared:
        """Read the data of the experiment.

        Args:
            kept: directory with the processors of the run to be resumed, or with those that the
                first of several processes has made; None: there are none yet.

        Raises:
            ConfigError: the data cannot meet a setting.
            DataError: they cannot be used.
            Interrupted: a signal came.
        """

    @abstractmethod
    def inspect(self) -> Inspection:
        """Check what can be checked without training.

        Raises:
            ConfigError, DataError: as for `prepare`.
        """

    @property
    def streams(self) -> bool:
        """True if each example continues that of the previous step."""
        return False

    def examples_per_pass(self, examples: int) -> int:
        """Return how many of the training examples one pass reads."""
        return examples

    def summary(self, prepared: Prepared) -> dict[str, Any]:
        """Return what a run reads of each split, as plain data."""
        return {
            name: {"examples": len(examples), "sha256": examples.content_sha256}
            for name, examples in prepared.splits.items()
        }

    def result_facts(self, prepared: Prepared, model: BaseModel, run: Path) -> dict[str, Any]:
        """Return what the result of a finished run tells besides its metrics, as its fields."""
        return {}

    # the model

    @abstractmethod
    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        """Return keyword arguments of the model's `from_config`, of JSON types."""

    def check_model(self, model: BaseModel, prepared: Prepared) -> None:  # noqa: B027
        """Check a model on the first examples, before it is trained; nothing by default.

        Raises:
            ConfigError: it cannot learn the task.
        """

    def forward(
        self, model: Callable[..., ModelOutput], inputs: Inputs, **more: Any
    ) -> ModelOutput:
        """Run the model on a batch.

        Args:
            model: the model, perhaps wrapped.
            more: further arguments of the model (`return_logits`, those of a carried state).
        """
        return model(**self.given(inputs), **more)

    def source_of(self, name: str) -> str:
        """Return the method that gives batches a tensor of a name, for messages."""
        return "collate"

    def given(self, inputs: Inputs) -> Inputs:
        """Return the tensors of a batch that the model is given."""
        return {name: tensor for name, tensor in inputs.items() if name not in self.withheld}

    # the losses

    def count_targets(self, inputs: Inputs) -> int:
        """Return the number of targets in a batch, as the model's own loss counts them.

        `IGNORE_INDEX` is none among integers; real numbers are targets without exception.
        """
        return int(is_target(self._labels(inputs)).sum())

    def aligned(self, output: ModelOutput, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return logits (..., C) and the target of each, (...); see `count_targets`."""
        if output.logits is None:
            raise LogitsError("the model returned no logits, which a loss or a metric reads")
        return output.logits, self._labels(inputs)

    def _labels(self, inputs: Inputs) -> Tensor:
        if "labels" not in inputs:
            law = "must give a batch 'labels'"
            if not is_ours(type(self)):
                law += ", unless count_targets and aligned are overridden"
            given = f"it gives {', '.join(inputs)}"
            raise plugin_fault(type(self), self.source_of("labels"), f"{law}; {given}")
        return inputs["labels"]

    @property
    def needs_logits(self) -> bool:
        """True if a loss reads the logits."""
        return any(LOSSES[name].needs_logits for name in self.losses)

    def targets(self, inputs: Inputs) -> dict[str, int]:
        """Return the number of targets of each loss in a batch."""
        keys, counts = self.config.training.keys, {}
        for name, loss in self.losses.items():
            read = renamed(inputs, name, keys.get(name, {}))
            counts[name] = loss.count(read, self.count_targets(read))
        return counts

    def run(
        self,
        model: Callable[..., ModelOutput],
        inputs: Inputs,
        targets: Mapping[str, int],
        **more: Any,
    ) -> ForwardPass:
        """Run the model on a batch, of which `targets` were counted before; see `forward`."""
        return ForwardPass(
            model=model,
            output=self.forward(model, inputs, **more),
            inputs=inputs,
            targets=targets,
            terms={name: loss.mean for name, loss in self.losses.items()},
            align=self.aligned,
            keys=self.config.training.keys,
        )

    # the metrics

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of each evaluation."""
        return tuple(self.config.training.metrics) or self.spec.metrics

    @property
    def details(self) -> set[str]:
        """Figures of these metrics that are not shown on the line of progress."""
        measured = (*self.metric_names, *self.config.training.train_metrics)
        return {name for metric in measured for name in METRICS.load(metric).details}

    @property
    def best_metric(self) -> tuple[str, bool]:
        """The metric that decides which checkpoint is the best, and whether more is better."""
        name = self.config.training.metric_for_best_model or self.metric_names[0]
        return name, self.config.training.is_greatest_best(name)
