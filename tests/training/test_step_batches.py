"""A step is drawn ahead, and handed out where all processes are ready for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import DataError, Interrupted, WorkerError
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.objectives import MaskedLM
from model_foundry.training import step_batches
from model_foundry.training.step_batches import StepBatches
from tests.experiments import tiny_experiment

OBJECTIVE = MaskedLM(tiny_experiment("bert", Path("nowhere")))
UNITS = ("tokens", "words")


def batch(index: int, labels: int) -> Batch:
    """Return two rows of three tokens, of which that many have a label."""
    ids = torch.full((2, 3), index)
    marked = torch.where(torch.arange(6).view(2, 3) < labels, ids, -100)
    keys = [(0, index), (0, index + 1)]
    return Batch({"input_ids": ids, "labels": marked}, {"tokens": 5, "words": 2}, keys)


@dataclass
class Counted:
    """Batches without end, and how many were asked for."""

    labels: Sequence[int] = (6,)
    asked: int = 0
    fails: dict[int, Exception] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.asked += 1
        if self.asked in self.fails:
            raise self.fails[self.asked]
        return batch(self.asked, self.labels[self.asked % len(self.labels)])


class Beside(ProcessGroup):
    """One of two processes; the answers of the other one are given."""

    answers: Sequence[float] = ()

    def sum(self, values: Sequence[float]) -> list[float]:
        return [a + b for a, b in zip(values, self.answers, strict=True)]


def beside(*answers: float) -> Beside:
    found = Beside(rank=0, world_size=2)
    object.__setattr__(found, "answers", answers)
    return found


def test_a_step_has_its_micro_batches_and_counts_them_with_a_label_or_without() -> None:
    drawn = StepBatches(Counted(labels=(6, 0, 4)), OBJECTIVE, micro_batches=3, units=UNITS).next()
    assert [b.keys[0][1] for b in drawn.micro_batches] == [1, 2, 3]
    assert drawn.own_targets == [{"model": 0}, {"model": 4}, {"model": 6}]
    assert drawn.targets == {"model": 10}
    assert (drawn.examples, drawn.counts) == (6, {"tokens": 15, "words": 6})


def test_the_other_processes_are_counted_too() -> None:
    drawn = StepBatches(
        Counted(), OBJECTIVE, micro_batches=1, units=UNITS, processes=beside(1, 2, 3, 4, 0, 0, 0)
    ).next()
    assert drawn.own_targets == [{"model": 6}] and drawn.targets == {"model": 8}
    assert (drawn.examples, drawn.counts) == (3, {"tokens": 8, "words": 6})


def test_what_was_drawn_ahead_is_handed_out_once() -> None:
    source = Counted()
    batches = StepBatches(source, OBJECTIVE, micro_batches=2)
    batches.prefetch()
    assert source.asked == 2
    assert [b.keys[0][1] for b in batches.next().micro_batches] == [1, 2]
    assert source.asked == 2
    assert [b.keys[0][1] for b in batches.next().micro_batches] == [3, 4]


@pytest.mark.parametrize(
    "fault", [RuntimeError("DataLoader worker (pid 7) is killed"), DataError("the text is gone")]
)
def test_an_error_of_prefetching_is_raised_with_its_step(fault: Exception) -> None:
    batches = StepBatches(Counted(fails={2: fault}), OBJECTIVE, micro_batches=1, workers=1)
    batches.next()
    batches.prefetch()
    with pytest.raises(WorkerError if isinstance(fault, RuntimeError) else DataError):
        batches.next()


def test_a_signal_stops_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Counted()
    monkeypatch.setattr(step_batches, "stop_requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted, match="SIGTERM"):
        StepBatches(source, OBJECTIVE, micro_batches=1).next()
    assert source.asked == 0


def test_a_signal_to_another_process_stops_this_one() -> None:
    with pytest.raises(Interrupted, match="a signal"):
        StepBatches(Counted(), OBJECTIVE, micro_batches=1, processes=beside(0, 0, 1, 0, 0)).next()


def test_a_worker_that_died_beside_another_process_stops_this_one() -> None:
    with pytest.raises(WorkerError, match=r"dataloader_num_workers \(=3\).*another process"):
        StepBatches(
            Counted(), OBJECTIVE, micro_batches=1, workers=3, processes=beside(0, 0, 0, 1, 0)
        ).next()


def test_a_process_whose_worker_died_stops_the_others() -> None:
    """It takes part in the sum before it raises; else the others would wait for ever."""
    asked = []

    class Listening(Beside):
        def sum(self, values: Sequence[float]) -> list[float]:
            asked.append(list(values))
            return list(values)

    source = Counted(fails={1: RuntimeError("DataLoader worker (pid 7) is killed")})
    with pytest.raises(WorkerError, match="pid 7"):
        StepBatches(source, OBJECTIVE, micro_batches=1, processes=Listening(world_size=2)).next()
    assert asked == [[0, 0, False, True, False]]


@pytest.mark.parametrize("of_main", [True, False])
def test_the_clock_of_main_decides_for_all_whether_to_save(of_main: bool) -> None:
    def drawn(index: int, answers: float) -> bool:
        processes = beside(0, 0, 0, 0, answers)
        object.__setattr__(processes, "rank", index)
        mine = of_main if index == 0 else not of_main  # the other's clock is the opposite
        batches = StepBatches(
            Counted(), OBJECTIVE, micro_batches=1, save_is_due=lambda: mine, processes=processes
        )
        return batches.next().timed_save

    assert drawn(0, 0) == drawn(1, float(of_main)) == of_main
