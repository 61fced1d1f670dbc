"""Two processes do what one does: updates, carried states, digests, measurements, and faults.

Two processes of four rows make the same update as one process of eight, for every model.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.children import launched
from tests.experiments import MODELS
from tests.training.processes_worker import SHARDED, write_figures
from tests.training.test_carried_state import KINDS

pytestmark = pytest.mark.slow

FAULTS = {
    "a dead worker": "WorkerError",
    "a loss that is not finite": "NonFiniteError on 8 examples",
    "a signal": "Interrupted",
}


def find(processes: int, directory: Path) -> dict[str, Any]:
    output = directory / f"{processes}.json"
    for ended in launched(*[(write_figures, directory, output)] * processes):
        assert ended.code == 0, ended.stderr
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of one process, and of two."""
    directory = tmp_path_factory.mktemp("processes")
    return find(1, directory), find(2, directory)


def agree(found: tuple[dict[str, Any], dict[str, Any]], *names: str) -> None:
    alone, together = found
    for name in names:
        assert together[name] == pytest.approx(alone[name], rel=1e-4), name


def test_two_processes_make_the_update_of_one(found: Any) -> None:
    agree(found, *sorted(MODELS))


def test_two_processes_add_up_several_losses_and_metrics_as_one(found: Any) -> None:
    agree(found, "gpt2, two losses", "bert, two losses")


def test_a_process_whose_rows_have_no_label_takes_part_in_the_update(found: Any) -> None:
    parts = ("no label in the last half", "no label in the last quarter")
    agree(found, *(f"{kind}, {part}" for kind in ("gpt2", "bert") for part in parts))


def test_carried_states_are_those_of_one_process_row_by_row(found: Any) -> None:
    agree(found, *(f"{kind} with its state" for kind in KINDS))


def test_the_digest_covers_the_rows_of_all_processes_in_order(found: Any) -> None:
    assert found[0]["digest"] == found[1]["digest"]


def test_a_divided_measurement_is_that_of_one_process(found: Any) -> None:
    agree(found, *(f"{kind} measured" for kind in ("gpt2", "bert", "lstm")))


@pytest.mark.parametrize(("kind", "optimizer"), SHARDED)
def test_divided_weights_and_optimizers_are_saved_and_loaded_whole(
    kind: str, optimizer: str, found: Any
) -> None:
    # AdamW makes much of gradients that are zero but for rounding, such as those of bert's keys
    name = f"{kind} with {optimizer}"
    assert all(each[f"{name} resumed"] for each in found)
    # so do others, and Muon computes in bf16
    rel = 1e-2 if optimizer in {"muon", "nadam", "rmsprop"} else 1e-3
    close = pytest.approx(found[0][f"{name} divided"], rel=rel, abs=1e-4)
    assert found[1][f"{name} divided"] == close


def test_updates_of_divided_weights_are_left_out_too(found: Any) -> None:
    for kind in ("gpt2", "bert", "lstm"):
        assert all(each[f"{kind} with adamw left as it was"] for each in found)


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_what_happens_to_one_process_stops_both_alike(fault: str, found: Any) -> None:
    assert found[0][fault] == [FAULTS[fault]]
    assert found[1][fault] == [FAULTS[fault]] * 2
