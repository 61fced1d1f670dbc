"""Models that learn by counting: sums of counts, and the laws of language models that they obey."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model_foundry.architectures import (
    BaseLanguageModel,
    CountedModel,
    create_model_from_config,
    device_of,
)
from model_foundry.evaluation.causality import find_leak
from model_foundry.foundation.labels import IGNORE_INDEX
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


def tables(model: CountedModel) -> dict[str, Tensor]:
    return {name: table.clone() for name, table in model.counts().items()}


def test_counts_by_hand() -> None:
    model = CountedBigram(4)
    model.count(input_ids=torch.tensor([[1, 2, 1, 2, 3]]))
    assert model.table.tolist() == [[0] * 4, [0, 0, 2, 0], [0, 1, 0, 1], [0] * 4]
    logits = model(torch.tensor([[1, 0]])).logits.exp()
    expected = torch.tensor([[1, 1, 3, 1], [1.5, 1.5, 1.5, 1.5]]) / 6
    torch.testing.assert_close(logits[0], expected)


def test_all_tables_are_counts_and_nothing_is_a_parameter(bigram: CountedModel) -> None:
    assert bigram.counts().keys() == {"table"}
    assert bigram.counts()["table"].data_ptr() == bigram.table.data_ptr()  # to be added to in place
    assert not bigram.table.is_floating_point()
    assert bigram.get_parameter_count() == 0
    assert bigram.get_memory_footprint() == 8 * V * V
    assert device_of(bigram) == torch.device("cpu")


def test_counts_add_up_over_batches_and_processes(untrained: CountedModel) -> None:
    ids, rows = random_ids(6, T), (slice(0, 1), slice(1, 4), slice(4, 6))
    counted = []
    for part in (*rows, slice(0, 6)):
        model = CountedBigram(V)
        model.count(input_ids=ids[part])
        counted.append(tables(model)["table"])
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
