"""Settings of training that say what is learned: objective, losses, metrics, masks."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from model_foundry.config.on_resume import OnResume
from model_foundry.config.sections import Section, faults_error


def _each_once(names: list[str]) -> list[str]:
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise faults_error(("", f"must name each once, got {twice[0]!r} twice"))
    return names


Names = Annotated[list[str], AfterValidator(_each_once)]


class TaskSettings(Section):
    """The objective, and what is made of its batches."""

    objective: str = "causal_lm"
    """A registered objective, as `foundry list objectives` shows them."""
    losses: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Registered losses with their weights, added up; `model` is the model's own. Left out or
    empty: those of the objective."""
    metrics: Annotated[Names, OnResume.FREE] = Field(default_factory=list)
    """Registered metrics of each evaluation; left out or empty: those of the objective."""
    train_metrics: Annotated[Names, OnResume.LAST_BITS] = Field(default_factory=list)
    """Registered metrics of the training batches between two lines of metrics; those that read
    logits cost time and memory. Left out: none."""
    keys: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Other names of what a loss or metric reads, by its name: `{accuracy: {labels: tags}}`. Left
    out: each reads what it asks for."""
    transforms: list[dict[str, Any]] = Field(default_factory=list)
    """Changes of each record of a batch, in this order: `{name: settings}` of a registered one,
    `{rename: {old: new}}` or `{function: module:name}`. Left out: none."""
    label_smoothing_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the probability that the loss `label_smoothing` spreads over all classes (Szegedy et
    al. 2016, arXiv:1512.00567)."""
    mlm_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that a masked objective predicts."""
    mlm_probability_end: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share at the last step, to which that of the first changes linearly (Ankner et al. 2023,
    arXiv:2305.15096); evaluations are not affected. None: it does not change."""
    mlm_eval_probability: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The same in evaluation: losses of different shares cannot be compared, as a greater one
    leaves less to predict from. None: as in training."""
    mlm_masking: Literal["token", "word", "span"] = "token"
    """Units that a masked objective hides: single tokens, whole words, or spans of words whose
    lengths are geometric (Joshi et al. 2020, arXiv:1907.10529)."""
    mlm_span_length: Annotated[float, Field(ge=1, le=10)] = 3.0
    """Mean words in a span, before spans of more than ten are cut to that."""
    carry_state: bool = False
    """Begin each row with the state that a recurrent model had at the end of the row before it, as
    `data.packing: streams` lines them up."""
