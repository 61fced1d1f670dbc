"""Specs: what the configuration knows of a registered thing without importing it.

`built_in` has the registries with those of this package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from model_foundry.registry import place_of

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
    other_kinds: Mapping[str, str] = field(default_factory=dict)
    """Further kinds of models that it gives, and the `BaseModel` subclass of each, as
    `module:class`; these suit every objective of their kind."""
    trained_by: Literal["gradient", "counting"] = "gradient"
    """How it learns: by the gradient of a loss, or by counting over one pass."""
    section: str | None = None
    """Key of its section below `model`, required unless a plugin's has a default for each setting;
    None: it needs none."""
    schema: type[BaseModel] | None = None
    """Pydantic class of that section; None exactly when `section` is."""
    optional_sections: dict[str, type[BaseModel]] = field(default_factory=dict)
    """Further sections that may be given, with their classes."""
    objectives: tuple[str, ...] = ("causal_lm",)
    """Objectives it can be trained with."""
    is_causal: bool | Callable[[Any], bool | None] = True
    """True if position t sees only positions up to t; or a function of the section, which may
    return None for a model that takes the direction of its objective."""
    ties_embedding_size: bool = False
    """True if `embedding_size` must equal `hidden_size`."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only some architectures read, this one among them."""
    isolates_documents: bool = False
    """True if `forward` takes `document_ids` and isolates documents."""
    implementations: tuple[str, ...] = ()
    """Values of `model.implementation` beside `auto`: equivalent networks; empty: there is one."""
    gains_from_compile: bool = False
    """True if `torch.compile` was measured to speed up training on GPUs."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of models that it gives without a head, its own first."""
        return (self.kind, *self.other_kinds)

    def causal_with(self, section: Any) -> bool | None:
        """Return True if a model with this section is causal; None: as its objective needs it."""
        return self.is_causal if isinstance(self.is_causal, bool) else self.is_causal(section)

    def sections(self) -> dict[str, type[BaseModel]]:
        """Return every section that this architecture reads, with its class."""
        own = {self.section: self.schema} if self.section and self.schema else {}
        return own | self.optional_sections


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """A head as the configuration sees it: a model of one kind on the body of another."""

    name: str
    """The kind of model that it makes, which an objective asks for."""
    target: str
    """The `BaseModel` subclass, as `module:class`."""
    of: str = "language"
    """The kind of architecture whose body it takes."""


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
    reads_token_stream: bool = True
    """True if its examples are cut from a token stream, as those of a `LanguageObjective`; False:
    of anything else, such as records, whose columns may be texts."""
    units: tuple[str, ...] = ("tokens", "words")
    """What is counted beside the examples, for milestones."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its section, `training.<name>`; None: it has none."""
    losses: dict[str, float] = field(default_factory=lambda: {"model": 1.0})
    """Losses with their weights where the experiment names none; `model` is the model's own."""
    metrics: tuple[str, ...] = ("loss",)
    """Metrics that are measured where the experiment names none; the first decides which checkpoint
    is the best."""
    framing_tokens: int = 0
    """Special tokens that frame the text of each block or record."""
    needs_mask_token: bool = False
    """True if the tokenizer must have a mask token."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only this objective reads, and dotted names of settings of text
    that it reads although it reads no token stream, such as `data.max_sequence_length`."""

    def default_of(self, argument: str) -> str:
        """Return the place of an argument of its registration, for messages."""
        return f"{self.name!r}, {place_of(self.target)}: register_objective({argument}=...)"


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
    """A function from the point of a run to the learning rate, as `module:attribute`."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its section, `training.<name>`; None: it has none."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only some schedules read, this one among them."""
    follows_evaluations: bool = False
    """True if the rate depends on evaluations, whose steps then decide what is trained."""


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
    """True if it is defined for the token stream of a language model only."""
    generates: bool = False
    """True if the model generates for it, which it does in evaluations only."""
    several_labels: bool | None = None
    """True if it is defined for tasks with `multi_label` only, False for those without; None: for
    both."""


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """A kind of source as the configuration sees it."""

    name: str
    """Key in `data.train`: `{name: settings}`."""
    target: str
    """The `Source` subclass, called with its settings and a `Reading`, as `module:class`."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its settings; None: it has none."""


@dataclass(frozen=True, kw_only=True)
class TransformSpec:
    """A transform of batches as the configuration sees it."""

    name: str
    """Name in `training.transforms`."""
    target: str
    """A function of the tensors of one record, as `module:attribute`."""
    on: Literal["training", "evaluation", "both"]
    """Batches that it changes unless an experiment says otherwise."""
    schema: type[BaseModel] | None = None
    """Pydantic class of its settings; None: it has none."""
