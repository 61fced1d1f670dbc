"""Specs of everything that an experiment names, readable without importing the implementations.

An implementation is imported through `target` on demand. Other packages announce theirs in entry
points, in a group for each kind: `model_foundry.architectures`, `model_foundry.objectives` and so
on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from model_foundry.config.optimizers import SGDConfig
from model_foundry.config.sections import (
    BERTSpecificConfig,
    RNNModelConfig,
    TransformerModelConfig,
)
from model_foundry.config.sources import DiskSource, HubSource, LanguageSource
from model_foundry.registry import Registry

TEXT_METRICS = ("loss", "perplexity", "bits_per_byte")


@dataclass(frozen=True, kw_only=True)
class ArchitectureSpec:
    """An architecture as the configuration sees it."""

    name: str
    """Name in `model.architecture`."""
    target: str
    """The `BaseModel` subclass, as `module:class`."""
    kind: str = "language"
    """The kind of model, which an objective asks for; a `BaseLanguageModel` is `language`."""
    trained_by: Literal["gradient", "counting"] = "gradient"
    """How it learns: by the gradient of a loss, or by counting over one pass."""
    section: str | None = None
    """Key of its section below `model`, which is then required; None: it needs none."""
    schema: type[BaseModel] | None = None
    """Pydantic class of that section; None exactly when `section` is."""
    optional_sections: dict[str, type[BaseModel]] = field(default_factory=dict)
    """Further sections that may be given, with their classes."""
    objectives: tuple[str, ...] = ("causal_lm",)
    """Objectives it can be trained with."""
    is_causal: bool | Callable[[Any], bool] = True
    """True if position t sees only positions up to t; or a function of the section."""
    ties_embedding_size: bool = False
    """True if `embedding_size` must equal `hidden_size`."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only some architectures read, this one among them."""
    isolates_documents: bool = False
    """True if `forward` takes `document_ids` and isolates documents."""
    gains_from_compile: bool = False
    """True if `torch.compile` was measured to speed up training on GPUs."""

    def causal_with(self, section: Any) -> bool:
        """Return True if a model with this section is causal."""
        return self.is_causal if isinstance(self.is_causal, bool) else self.is_causal(section)

    def sections(self) -> dict[str, type[BaseModel]]:
        """Return every section that this architecture reads, with its class."""
        own = {self.section: self.schema} if self.section and self.schema else {}
        return own | self.optional_sections


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec:
    """A training objective as the configuration sees it."""

    name: str
    """Name in `training.objective`."""
    target: str
    """The `Objective` subclass, as `module:class`."""
    variant_of: str | None = None
    """Another objective, whose architectures suit this one too; None: only those that name it."""
    direction: Literal["left_to_right", "both", "any"] = "any"
    """The direction in which a model must read: only from left to right, in both directions, or
    any."""
    model_kind: str = "language"
    """The kind of model that it trains."""
    reads_text: bool = True
    """True if its examples are made of tokenized text; False: of records with named columns."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its section, `training.<name>`; None: it has none."""
    losses: dict[str, float] = field(default_factory=lambda: {"model": 1.0})
    """Losses with their weights where the experiment names none; `model` is the model's own."""
    metrics: tuple[str, ...] = ("loss",)
    """Metrics that are measured where the experiment names none; the first decides which checkpoint
    is the best."""
    framing_tokens: int = 0
    """Special tokens that frame the text of each block."""
    needs_mask_token: bool = False
    """True if the tokenizer must have a mask token."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only this objective reads, and dotted names of settings of text
    that it reads although `reads_text` is False, such as `data.max_sequence_length`."""


@dataclass(frozen=True, kw_only=True)
class InterventionSpec:
    """A step of `data.interventions` as the configuration sees it."""

    name: str
    """Name in `step`."""
    target: str
    """The registered intervention, as `module:attribute`."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """An optimizer as the configuration sees it."""

    name: str
    """Name in `training.optimizer`."""
    target: str
    """A function from parameter groups and settings to the optimizer, as `module:attribute`."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its section, `training.<name>`; None: it has none."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only some optimizers read, this one among them."""


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """A learning-rate schedule as the configuration sees it."""

    name: str
    """Name in `training.lr_scheduler_type`."""
    target: str
    """A function from the progress of a run to the learning rate, as `module:attribute`."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its section, `training.<name>`; None: it has none."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only some schedules read, this one among them."""


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """A loss as the configuration sees it."""

    name: str
    """Name in `training.losses`."""
    target: str
    """The `Loss` subclass, as `module:class`."""
    needs_logits: bool = True
    """True if it reads the logits of the model, which then computes them."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric as the configuration sees it."""

    name: str
    """Name in `training.metrics`."""
    target: str
    """The `Metric` subclass, as `module:class`."""
    greater_is_better: bool
    """The direction in which it improves."""
    needs_logits: bool = True
    """True if it reads the logits of the model, which then computes them."""
    reads_text: bool = False
    """True if it is defined for text only."""


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """A kind of source as the configuration sees it."""

    name: str
    """Key in `data.train`: `{name: settings}`."""
    target: str
    """The `Source` subclass, called with its settings and a `Reading`, as `module:class`."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its settings; None: it has none."""


def _recurrent(name: str, class_name: str) -> ArchitectureSpec:
    return ArchitectureSpec(
        name=name,
        target=f"model_foundry.architectures.rnn:{class_name}",
        section="rnn",
        schema=RNNModelConfig,
        objectives=("causal_lm", "masked_lm"),
        is_causal=lambda section: not section.bidirectional,
        settings=("carry_state",),
        isolates_documents=True,
    )


ARCHITECTURES: Registry[ArchitectureSpec] = Registry(
    "architecture",
    (
        ArchitectureSpec(
            name="gpt2",
            target="model_foundry.architectures.gpt:GPT2Model",
            section="transformer",
            schema=TransformerModelConfig,
            objectives=("causal_lm",),
            ties_embedding_size=True,
            settings=("attn_implementation",),
            isolates_documents=True,
            gains_from_compile=True,
        ),
        ArchitectureSpec(
            name="bert",
            target="model_foundry.architectures.bert:BERTModel",
            section="transformer",
            schema=TransformerModelConfig,
            optional_sections={"bert": BERTSpecificConfig},
            objectives=("masked_lm",),
            is_causal=False,
            ties_embedding_size=True,
            settings=("attn_implementation",),
            isolates_documents=True,
            gains_from_compile=True,
        ),
        _recurrent("lstm", "LSTMModel"),
        _recurrent("gru", "GRUModel"),
        _recurrent("rnn", "RNNModel"),
    ),
    entry_points="model_foundry.architectures",
)

OBJECTIVES: Registry[ObjectiveSpec] = Registry(
    "objective",
    (
        ObjectiveSpec(
            name="causal_lm",
            target="model_foundry.objectives.causal:CausalLM",
            direction="left_to_right",
            metrics=TEXT_METRICS,
        ),
        ObjectiveSpec(
            name="masked_lm",
            target="model_foundry.objectives.masked:MaskedLM",
            direction="both",
            metrics=TEXT_METRICS,
            framing_tokens=2,
            needs_mask_token=True,
            settings=("mlm_probability", "mlm_masking", "mlm_span_length"),
        ),
    ),
    entry_points="model_foundry.objectives",
)


def _step(name: str, file: str) -> InterventionSpec:
    return InterventionSpec(name=name, target=f"model_foundry.interventions.{file}:{name}")


INTERVENTIONS: Registry[InterventionSpec] = Registry(
    "intervention",
    (
        _step("ai_step", "ai_step.step"),
        _step("delete_words", "words"),
        _step("drop_duplicates", "documents"),
        _step("drop_sentences", "sentences"),
        _step("drop_tagged_sentences", "tagged"),
        _step("filter_documents", "documents"),
        _step("filter_length", "documents"),
        _step("keep_sentences", "sentences"),
        _step("keep_tagged_sentences", "tagged"),
        _step("lowercase", "text"),
        _step("normalize_unicode", "text"),
        _step("replace", "text"),
        _step("replace_words", "words"),
        _step("shuffle_sentences", "sentences"),
        _step("shuffle_words", "words"),
    ),
    entry_points="model_foundry.interventions",
)

OPTIMIZERS: Registry[OptimizerSpec] = Registry(
    "optimizer",
    (
        OptimizerSpec(
            name="adamw",
            target="model_foundry.training.optimizer:adamw",
            settings=("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
        ),
        OptimizerSpec(
            name="sgd",
            target="model_foundry.training.optimizer:sgd",
            schema=SGDConfig,
            settings=("weight_decay",),
        ),
        OptimizerSpec(
            name="adafactor",
            target="model_foundry.training.optimizer:adafactor",
            settings=("weight_decay",),
        ),
    ),
    entry_points="model_foundry.optimizers",
)

SCHEDULES: Registry[ScheduleSpec] = Registry(
    "schedule",
    (
        ScheduleSpec(
            name="cosine",
            target="model_foundry.training.lr_schedule:cosine",
            settings=("min_learning_rate",),
        ),
        ScheduleSpec(
            name="linear",
            target="model_foundry.training.lr_schedule:linear",
            settings=("min_learning_rate",),
        ),
        ScheduleSpec(name="constant", target="model_foundry.training.lr_schedule:constant"),
    ),
    entry_points="model_foundry.schedules",
)

LOSSES: Registry[LossSpec] = Registry(
    "loss",
    (
        LossSpec(
            name="model", target="model_foundry.objectives.losses:ModelLoss", needs_logits=False
        ),
        LossSpec(name="z_loss", target="model_foundry.objectives.losses:ZLoss"),
    ),
    entry_points="model_foundry.losses",
)


def _metric(name: str, class_name: str, **known: bool) -> MetricSpec:
    return MetricSpec(
        name=name,
        target=f"model_foundry.objectives.metrics:{class_name}",
        **({"greater_is_better": False, "needs_logits": False} | known),
    )


METRICS: Registry[MetricSpec] = Registry(
    "metric",
    (
        _metric("loss", "MeanLoss"),
        _metric("perplexity", "Perplexity"),
        _metric("bits_per_byte", "BitsPerByte", reads_text=True),
        _metric("accuracy", "Accuracy", greater_is_better=True, needs_logits=True),
    ),
    entry_points="model_foundry.metrics",
)

SOURCES: Registry[SourceSpec] = Registry(
    "source",
    (
        SourceSpec(name="files", target="model_foundry.data.sources.files:open_files"),
        SourceSpec(
            name="hub",
            target="model_foundry.data.sources.datasets_rows:HubRows",
            schema=HubSource,
        ),
        SourceSpec(
            name="disk",
            target="model_foundry.data.sources.datasets_rows:SavedRows",
            schema=DiskSource,
        ),
        SourceSpec(
            name="language",
            target="model_foundry.data.sources.synthetic_language:LanguageCorpus",
            schema=LanguageSource,
        ),
    ),
    entry_points="model_foundry.sources",
)
