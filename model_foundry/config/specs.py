"""Specs of architectures, objectives and interventions, readable without importing them.

The implementations are in `architectures/`, `objectives/` and `interventions/`, and are imported
through `target` on demand. Other packages announce theirs in the entry-point groups
`model_foundry.architectures`, `model_foundry.objectives` and `model_foundry.interventions`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from model_foundry.config.sections import (
    BERTSpecificConfig,
    RNNModelConfig,
    TransformerModelConfig,
)
from model_foundry.registry import Registry


@dataclass(frozen=True, kw_only=True)
class ArchitectureSpec:
    """An architecture as the configuration sees it."""

    name: str
    """Name in `model.architecture`."""
    target: str
    """The `BaseLanguageModel` subclass, as `module:class`."""
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
    requires_causal: bool
    """True: only causal models can be trained so; False: only models that see both sides."""
    framing_tokens: int = 0
    """Special tokens that frame the text of each block."""
    needs_mask_token: bool = False
    """True if the tokenizer must have a mask token."""
    settings: tuple[str, ...] = ()
    """Fields of `training` that only this objective reads."""


@dataclass(frozen=True, kw_only=True)
class InterventionSpec:
    """A step of `data.interventions` as the configuration sees it."""

    name: str
    """Name in `step`."""
    target: str
    """The registered intervention, as `module:attribute`."""


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
            requires_causal=True,
        ),
        ObjectiveSpec(
            name="masked_lm",
            target="model_foundry.objectives.masked:MaskedLM",
            requires_causal=False,
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
