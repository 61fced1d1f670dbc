"""Heads: an objective for another kind of model on the architectures of language models."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures import (
    BaseModel,
    ModelOutput,
    create_model_from_config,
    register_head,
)
from model_foundry.architectures.saving.native_format import class_of
from model_foundry.cli.listing import listing
from model_foundry.config import HEADS, OBJECTIVES, ExperimentConfig, Section
from model_foundry.data.batches.examples import Column, Ragged
from model_foundry.data.sources.records import Records
from model_foundry.errors import ConfigError
from model_foundry.experiment import train
from model_foundry.model import load_model
from model_foundry.objectives import Processor, RecordObjective, register_objective
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.processors import Processors
from tests.experiments import tiny_experiment

KIND = "judge"
TEXTS = [("a" * n + "b" * (12 - n), "many" if n > 6 else "few") for n in (1, 2, 3, 4, 8, 9, 10, 11)]


class JudgeColumns(Section):
    """The columns of a table of texts to judge."""

    text: str = "text"
    label: str = "label"


class Judge(RecordObjective):
    """Predict the label of a text from its bytes."""

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {"labels": Labels}
    masks: ClassVar[Mapping[str, str]] = {"input_ids": "attention_mask"}

    @property
    def columns(self) -> Sequence[str]:
        return [self.settings.text, self.settings.label]

    def learn(self, records: Any) -> dict[str, Processor]:
        return {"labels": Labels.of(x for r in records for x in r.labels(self.settings.label))}

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        labels, column = processors["labels"], self.settings.label
        assert isinstance(labels, Labels)
        texts = records.texts(self.settings.text)
        return {
            "input_ids": Ragged.of(
                [np.frombuffer(t.encode(), np.uint8).astype(int) for t in texts]
            ),
            "labels": labels.encode(records.labels(column), column, records.where),
        }

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        labels = processors["labels"]
        assert isinstance(labels, Labels)
        return {"vocab_size": 256, "pad_token_id": 0, "num_labels": len(labels.names)}


class JudgeHead(BaseModel):
    """The mean of the last states of a language model, and a logit for each label."""

    def __init__(self, body: Any, name: str, num_labels: int) -> None:
        super().__init__()
        self.body, self.name = body.hf_model.base_model, name
        self.output = nn.Linear(body.hf_config.hidden_size, num_labels)

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, num_labels: int, **arguments: Any) -> Self:
        name = config.model.architecture
        return cls(class_of(name, "language").from_config(config, **arguments), name, num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> ModelOutput:
        states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(states.dtype)
        logits = self.output((states * mask).sum(1) / mask.sum(1))  # (B, C)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ModelOutput(loss=loss, logits=logits)

    @property
    def model_type(self) -> str:
        return self.name


@pytest.fixture(autouse=True, scope="module")
def _head_and_task() -> Iterator[None]:
    register_head(KIND)(JudgeHead)
    register_objective(
        "judge_texts", model_kind=KIND, schema=JudgeColumns, metrics=("accuracy", "loss")
    )(Judge)
    yield
    HEADS.remove(KIND)
    OBJECTIVES.remove("judge_texts")


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a table of texts."""
    rows = "".join(f"{text},{label}\n" for text, label in TEXTS * 4)
    (tmp_path / "texts.csv").write_text(f"text,label\n{rows}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


OVERRIDES = (
    *("data.train=texts.csv", "data.validation=texts.csv", "training.objective=judge_texts"),
    *("training.max_steps=30", "training.learning_rate=1e-2", "training.eval_steps=30"),
)


def experiment(architecture: str, here: Path, *overrides: str) -> ExperimentConfig:
    return tiny_experiment(architecture, here, *OVERRIDES, *overrides)


@pytest.mark.parametrize("architecture", ["gpt2", "bert", "lstm"])
def test_a_task_for_a_head_is_trained_saved_and_loaded(architecture: str, judged: Path) -> None:
    result = train(experiment(architecture, judged))
    assert result.metrics["eval/accuracy"] == 1.0
    model = load_model(judged / "run")
    assert isinstance(model, JudgeHead)
    ids = torch.tensor([[97] * 12, [98] * 12])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert logits.argmax(1).tolist() == [1, 0]  # few, many
    again = load_model(judged / "run")
    assert torch.equal(again(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, logits)


def test_an_architecture_without_a_head_is_what_it_was(judged: Path) -> None:
    config = tiny_experiment("gpt2", judged)
    assert not isinstance(create_model_from_config(config), JudgeHead)


def test_a_task_without_a_head_is_refused(judged: Path) -> None:
    register_objective("ranks", model_kind="ranker", schema=JudgeColumns)(Judge)
    try:
        with pytest.raises(
            ConfigError, match="is of kind 'language'; no architecture of that kind"
        ):
            tiny_experiment("gpt2", judged, "training.objective=ranks")
    finally:
        OBJECTIVES.remove("ranks")


def test_a_head_that_is_not_registered_is_named(judged: Path) -> None:
    model = create_model_from_config(
        experiment("lstm", judged), vocab_size=256, pad_token_id=0, num_labels=2
    )
    model.save_pretrained(judged / "model")
    spec = HEADS[KIND]
    HEADS.remove(KIND)
    try:
        with pytest.raises(ConfigError, match="of kind 'judge', which 'lstm' gives only with"):
            load_model(judged / "model")
    finally:
        HEADS.add(spec, JudgeHead)


def test_heads_are_listed() -> None:
    first, *facts = listing("heads")
    assert first.startswith(f"{KIND}: The mean of the last states of a language model")
    assert "  architectures: those of kind language" in facts


def test_a_head_makes_another_kind() -> None:
    with pytest.raises(TypeError, match="of= is the kind of another model, got 'judge'"):
        register_head(KIND, of=KIND)
    with pytest.raises(TypeError, match="BaseModel"):
        register_head("other")(nn.Linear)
