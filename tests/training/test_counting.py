"""The learner that counts: the last step is cut to what remains of the last pass."""

from pathlib import Path

import torch

from model_foundry.data.batches.loaders import Batch
from model_foundry.foundation.process_group import ALONE
from model_foundry.objectives.preparation import objective_of
from model_foundry.training.counting import CountingLearner
from model_foundry.training.step_batches import StepBatch
from tests.architectures.small_models import CountedBigram
from tests.experiments import tiny_experiment

KEYS = ([(0, 1), (1, 0)], [(1, 1), (1, 2)])  # pass and index of each row


class Strict(CountedBigram):
    """It cannot count an empty batch."""

    def count(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> None:  # type: ignore[override]
        assert len(input_ids)
        super().count(input_ids, **inputs)


def test_a_batch_after_the_last_pass_is_not_counted(tmp_path: Path) -> None:
    model, ids = Strict(4), torch.tensor([[1, 2], [1, 3]])
    learner = CountingLearner(
        model=model,
        passes=1,
        objective=objective_of(tiny_experiment("gpt2", tmp_path)),
        device=torch.device("cpu"),
        processes=ALONE,
    )
    batches = [Batch({"input_ids": ids, "labels": ids}, {}, keys) for keys in KEYS]
    step = StepBatch(micro_batches=batches, own_targets=[], targets={}, examples=4, counts={})
    learner.take_step(step, step=0, learning_rate=0.0)
    assert model.table.nonzero().tolist() == [[1, 2]]
