"""Scored positions of the objectives, and registration of another one."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from model_foundry import train
from model_foundry.architectures import BaseLanguageModel, ModelOutput
from model_foundry.config import LOSSES, METRICS, OBJECTIVES
from model_foundry.corpus_report.report import build_report
from model_foundry.data_collators import CausalLMDataCollator, Collator
from model_foundry.errors import DataError
from model_foundry.objectives import (
    CausalLM,
    ForwardPass,
    LanguageObjective,
    Loss,
    MaskedLM,
    Metric,
    Objective,
    register_loss,
    register_metric,
    register_objective,
)
from model_foundry.objectives.metrics import Sums
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.registry import DuplicateNameError
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import tiny_experiment

CAUSAL, MASKED = (tiny_experiment(kind, Path("nowhere")) for kind in ("gpt2", "bert"))
LABELS = torch.tensor([[5, 6, -100, 7], [-100, 8, 9, -100]])


@pytest.fixture
def second_half() -> Iterator[type[Objective]]:
    @register_objective("second_half", direction="left_to_right", variant_of="causal_lm")
    class SecondHalf(CausalLM):
        """Predict the second half of each block from the first."""

        def collator(self, tokenizer: object, *, seed: int) -> Collator:
            class HalfCollator(CausalLMDataCollator):
                def __call__(self, features):  # type: ignore[no-untyped-def]
                    batch = super().__call__(features)
                    batch["labels"][:, : batch["labels"].shape[1] // 2] = -100
                    return batch

            return HalfCollator(tokenizer)

    yield SecondHalf
    OBJECTIVES.remove("second_half")


def test_causal_model_predicts_all_but_the_first_token() -> None:
    expected = [[False, True, False, True], [False, True, True, False]]
    assert CausalLM(CAUSAL).scored(LABELS).tolist() == expected


def test_masked_model_predicts_what_is_labelled() -> None:
    assert torch.equal(MaskedLM(MASKED).scored(LABELS), LABELS != -100)


class OddOnes(CausalLM):
    """Predicts tokens with an odd id alone."""

    def scored(self, labels: Tensor) -> Tensor:
        return super().scored(labels) & (labels % 2 == 1)


@pytest.mark.parametrize(
    ("objective", "length", "expected"),
    [
        (CausalLM(CAUSAL), 4, [[6, -100, 7, -100], [8, 9, -100, -100]]),
        (CausalLM(CAUSAL), 3, [[6, -100, 7], [8, 9, -100]]),  # a token after each row
        (OddOnes(CAUSAL), 4, [[-100, -100, 7, -100], [-100, 9, -100, -100]]),
        (MaskedLM(MASKED), 4, LABELS.tolist()),
    ],
)
def test_each_logit_stands_beside_the_token_that_it_predicts(
    objective: LanguageObjective, length: int, expected: list[list[int]]
) -> None:
    output = ModelOutput(logits=torch.rand(2, length, 3))
    logits, targets = objective.aligned(output, {"labels": LABELS})
    assert logits is output.logits and targets.tolist() == expected
    found = {name: int(number) for name, number in objective.targets({"labels": LABELS}).items()}
    assert found == {"model": sum(token != -100 for row in expected for token in row)}


@pytest.mark.parametrize(("masking", "needed"), [("token", False), ("word", True), ("span", True)])
def test_word_starts_are_needed_where_words_are_hidden_together(
    tmp_path: Path, masking: str, needed: bool
) -> None:
    config = tiny_experiment("bert", tmp_path, f"training.mlm_masking={masking}")
    assert MaskedLM(config).needs_word_starts is needed
    assert CausalLM(CAUSAL).needs_word_starts is False


def test_share_of_an_evaluation_is_its_own_and_that_of_training_stays(tmp_path: Path) -> None:
    def labelled(*settings: str) -> tuple[Tensor, Tensor]:
        """Return which tokens are hidden in training and in evaluation, (B, T) each."""
        config = tiny_experiment("bert", tmp_path, "training.mlm_probability=0.4", *settings)
        prepared = MaskedLM(config).prepare()
        rows = prepared.validation.read([(0, n) for n in range(len(prepared.validation))])
        collators = (prepared.collate, prepared.evaluating)
        trained, evaluated = (collate(rows)["labels"] != -100 for collate in collators)
        return trained, evaluated

    trained, alike = labelled()
    own, fewer = labelled("training.mlm_eval_probability=0.1")
    assert torch.equal(trained, own)
    assert 0 < fewer.sum() < 0.5 * alike.sum()
    assert not (fewer & ~alike).any()  # the smaller share hides some of the same tokens


def test_report_counts_the_share_of_each_split(tmp_path: Path) -> None:
    config = tiny_experiment("bert", tmp_path, "training.mlm_eval_probability=0.5")
    prepared = MaskedLM(config).prepare()
    train, validation = build_report(config, prepared).splits
    shares = [(split.predicted or 0) / split.tokens.in_rows for split in (train, validation)]
    assert shares == pytest.approx([0.15, 0.5], rel=0.1)  # of all but the ends of documents
    rule = MaskedLM(config).prediction_rule
    assert rule.startswith("about 15% of") and rule.endswith("; 50% in evaluations")


@pytest.mark.parametrize("kind", ["wordpiece", "character"])
def test_masked_blocks_are_framed_by_either_style_of_tokenizer(kind: str) -> None:
    tokenizer = TokenizerFactory.train(kind, documents=["some text"], vocab_size=40)
    before, after = MaskedLM(MASKED).frame(tokenizer)
    frame = ["[CLS]", "[SEP]"] if kind == "wordpiece" else ["<s>", "</s>"]
    assert tokenizer.convert_ids_to_tokens(before + after) == frame
    assert len(before + after) == OBJECTIVES["masked_lm"].framing_tokens


def test_tokenizer_without_frame_is_refused() -> None:
    tokenizer = TokenizerFactory.train("character", documents=["some text"], vocab_size=40)
    tokenizer.bos_token = None
    with pytest.raises(DataError, match="no cls and sep"):
        MaskedLM(MASKED).frame(tokenizer)


def test_another_objective_needs_no_change_of_the_loop(
    second_half: type[Objective], tmp_path: Path
) -> None:
    config = tiny_experiment("gpt2", tmp_path, "training.objective=second_half")
    metrics = train(config).metrics
    everything = train(tiny_experiment("gpt2", tmp_path / "all")).metrics
    assert 0 < metrics["eval/tokens"] < 0.6 * everything["eval/tokens"]


def test_taken_name_and_wrong_class_are_refused() -> None:
    with pytest.raises(DuplicateNameError, match="'causal_lm' is already registered"):
        register_objective("causal_lm", direction="left_to_right")(MaskedLM)
    with pytest.raises(TypeError, match="subclass of Objective"):
        register_objective("new", direction="left_to_right")(Tensor)  # type: ignore[type-var]


class Continued(Metric):
    """The share of generated tokens that the tokenizer knows."""

    def sums(self, done: ForwardPass) -> Tensor:
        ids = done.inputs["input_ids"]
        model = cast(BaseLanguageModel, done.model)
        new = model.generate(ids, max_new_tokens=3)[:, ids.shape[1] :]
        tokenizer = cast(TextTokenizer, self.objective.processors["tokenizer"]).tokenizer
        return torch.tensor([(new < len(tokenizer)).sum().item(), new.numel()]).double()

    def result(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])


class Scaled(Loss):
    """The model's own loss, times the learning rate of the experiment."""

    def mean(self, done: ForwardPass) -> Tensor:
        return cast(Tensor, done.output.loss) * self.objective.config.training.learning_rate


def test_metrics_can_generate_and_losses_know_their_experiment(tmp_path: Path) -> None:
    register_metric("continued", greater_is_better=True)(Continued)
    register_loss("scaled", needs_logits=False)(Scaled)
    try:
        settings = ("training.metrics=[continued, loss]", "training.losses={scaled: 1, model: 2}")
        sizes = ("data.max_sequence_length=8", "model.transformer.max_position_embeddings=16")
        config = tiny_experiment("gpt2", tmp_path, *settings, *sizes, "training.learning_rate=0.5")
        figures = train(config).metrics
        assert figures["eval/continued"] == 1.0
        assert figures["eval/loss/scaled"] == pytest.approx(figures["eval/loss/model"] / 2)
    finally:
        METRICS.remove("continued")
        LOSSES.remove("scaled")
