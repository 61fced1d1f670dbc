"""Models that learn by counting: sums of counts, and the laws of language models that they obey."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    BaseModel,
    CountedModel,
    create_model_from_config,
    device_of,
    register_architecture,
)
from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import CheckpointError, ConfigError
from model_foundry.evaluation.causality import find_leak
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.process_group import ALONE
from model_foundry.objectives.preparation import objective_of
from model_foundry.training.checkpoint.save_load import load_weights
from model_foundry.training.counting import CountingLearner
from model_foundry.training.step_batches import StepBatch
from tests.architectures import test_contract as laws
from tests.architectures.small_models import CountedBigram, experiment, registered
from tests.architectures.test_contract import IDS, T, V, random_ids


@pytest.fixture(autouse=True)
def _small_models() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def untrained(_small_models: None) -> CountedModel:
    return create_model_from_config(experiment("counted_bigram"), vocab_size=V, **IDS)


@pytest.fixture
def bigram(untrained: CountedModel) -> CountedModel:
    untrained.count(input_ids=random_ids(16, 60, seed=2))
    return untrained


def test_counts_by_hand() -> None:
    model = CountedBigram(4)
    model.count(input_ids=torch.tensor([[1, 2, 1, 2, 3]]))
    assert model.table.tolist() == [[0] * 4, [0, 0, 2, 0], [0, 1, 0, 1], [0] * 4]
    logits = model(torch.tensor([[1, 0]])).logits.exp()
    expected = torch.tensor([[1, 1, 3, 1], [1.5, 1.5, 1.5, 1.5]]) / 6
    torch.testing.assert_close(logits[0], expected)


def test_all_tables_are_counts_and_nothing_is_a_parameter(bigram: CountedModel) -> None:
    assert bigram.state_dict().keys() == {"table"}
    assert not bigram.table.is_floating_point()
    assert bigram.get_parameter_count() == 0
    assert bigram.get_memory_footprint() == 8 * V * V
    assert device_of(bigram) == torch.device("cpu")


def test_counts_add_up_over_batches(untrained: CountedModel) -> None:
    ids, rows = random_ids(6, T), (slice(0, 1), slice(1, 4), slice(4, 6))
    counted = []
    for part in (*rows, slice(0, 6)):
        model = CountedBigram(V)
        model.count(input_ids=ids[part])
        counted.append(model.table)
    assert torch.equal(sum(counted[:3], torch.zeros_like(counted[0])), counted[3])
    for part in reversed(rows):
        untrained.count(input_ids=ids[part])
    assert torch.equal(untrained.table, counted[3])


def test_padding_and_ignored_labels_are_not_counted(untrained: CountedModel) -> None:
    ids = random_ids(2, T)
    mask = torch.ones_like(ids)
    mask[:, 8:] = 0
    labels = ids.masked_fill(mask == 0, IGNORE_INDEX)
    untrained.count(input_ids=ids, attention_mask=mask, labels=labels)
    cut = CountedBigram(V)
    cut.count(input_ids=ids[:, :8])
    assert torch.equal(untrained.table, cut.table)


def test_counting_lowers_the_loss(untrained: CountedModel) -> None:
    ids = random_ids(4, T)
    before = untrained(ids, labels=ids).loss
    untrained.count(input_ids=ids, labels=ids)
    assert untrained(ids, labels=ids).loss < before


Law = Callable[[BaseLanguageModel], None]
OF_TRAINED: dict[str, Law] = {
    "logits": laws.test_logits_have_a_row_for_each_position,
    "causality": laws.test_future_tokens_leak_exactly_into_models_that_see_both_sides,
    "padding": partial(laws.test_padding_changes_no_real_token, side="both"),
    "rows": laws.test_a_batch_equals_its_rows_one_by_one,
    "loss": laws.test_the_loss_is_the_mean_over_the_labels_that_count,
    "generation": laws.test_greedy_generation_equals_reading_everything_again,
    "prompts": laws.test_rows_padded_on_the_left_are_continued_as_if_alone,
    "mode": laws.test_generation_leaves_the_mode_of_the_model,
}


@pytest.mark.parametrize("law", OF_TRAINED.values(), ids=OF_TRAINED)
def test_a_law_of_language_models(law: Law, bigram: Any) -> None:
    law(bigram)


def test_without_counts_all_tokens_are_equally_likely(untrained: Any) -> None:
    laws.test_initial_loss_is_near_the_log_of_the_vocabulary(untrained)
    assert untrained(random_ids(2, T)).logits.unique().numel() == 1


def test_missing_and_damaged_tables_are_refused(bigram: Any, tmp_path: Path) -> None:
    laws.test_missing_and_damaged_weights_are_refused(bigram, tmp_path)


def test_a_batch_of_rows_that_were_counted_before_is_left_out(untrained: CountedModel) -> None:
    """At the end of the last pass, where the sizes of steps are equal."""
    met: list[int] = []
    untrained.count = lambda **inputs: met.append(len(inputs["input_ids"]))  # type: ignore[method-assign]
    learner = CountingLearner(
        model=untrained,
        passes=1,
        objective=objective_of(experiment("counted_bigram")),
        device=torch.device("cpu"),
        processes=ALONE,
    )
    keys = [[(0, 7), (1, 0)], [(1, 1), (1, 2)]]
    ids = random_ids(2, T)
    batches = [Batch({"input_ids": ids, "labels": ids}, {}, each) for each in keys]
    learner.take_step(StepBatch.of(batches, learner.objective), step=0, learning_rate=0.0)
    assert met == [1]


class Grown(CountedBigram):
    """A model whose table grows by the tokens that it meets."""

    model_type = "grown"

    def __init__(self, rows: int) -> None:
        super().__init__(4)
        self.inner = nn.Module()
        self.inner.register_buffer("seen", torch.zeros(rows, 2, dtype=torch.int64))

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, rows: int = 0, **ids: Any) -> Self:
        return cls(rows)

    def count(self, input_ids: Tensor, *given: Any, **inputs: Any) -> None:
        self.inner.seen = torch.arange(2 * len(input_ids)).view(-1, 2)


@pytest.fixture
def grown() -> Iterator[CountedModel]:
    register_architecture("grown", trained_by="counting")(Grown)
    yield create_model_from_config(experiment("grown"))
    del MODEL_REGISTRY["grown"]


def test_a_table_that_grew_is_loaded_and_resumed(grown: CountedModel, tmp_path: Path) -> None:
    fresh = create_model_from_config(experiment("grown"))
    grown.count(random_ids(5, T))
    grown.save_pretrained(tmp_path)
    load_weights(tmp_path, fresh)
    for model in (BaseModel.from_pretrained(tmp_path), fresh):
        assert torch.equal(model.inner.seen, torch.arange(10).view(5, 2))


def test_a_table_of_a_fixed_size_that_grew_is_refused_in_one_line(
    grown: CountedModel, tmp_path: Path
) -> None:
    fixed = create_model_from_config(experiment("grown"), rows=2)
    fixed.count(random_ids(5, T))
    fixed.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"size mismatch for inner\.seen") as refused:
        BaseModel.from_pretrained(tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointError, match=r"inner\.seen") as refused_too:
        load_weights(tmp_path, create_model_from_config(experiment("grown"), rows=2))
    assert "\n" not in str(refused_too.value)


class Peeking(CountedBigram):
    """Predicts each token with the counts of the token itself."""

    def forward(self, input_ids: Tensor, *given: Any, **known: Any) -> Any:
        return super().forward(input_ids.roll(-1, 1), *given, **known)


def test_a_leak_shows_without_any_training(untrained: Any) -> None:
    ids = random_ids(2, T)
    known: dict[str, Any] = {"objective_name": "CausalLM", "causal": True}
    inputs = {"input_ids": ids, "labels": ids}

    def leak(model: BaseLanguageModel) -> str | None:
        return find_leak(model, inputs, scored=lambda labels: labels != IGNORE_INDEX, **known)

    assert leak(untrained) is None
    assert "depend on the token at position 1" in str(leak(Peeking(V)))
    assert not untrained.table.any()  # the check has taken its own counts back
