"""Processes together: one finds out, fails or dies, and all of them learn of it."""

import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from model_foundry.errors import DataError, Interrupted, LockedError, NonFiniteError
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from tests.children import KILLED, Ended, child_running

SECONDS = timedelta(seconds=60)


def as_one_of(
    number: int, index: int, store: Path, do: Callable[..., Any], *arguments: Any
) -> None:
    """Do something as one of several processes; what it returns is left beside the store."""
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=index, world_size=number, timeout=SECONDS
    )
    processes = ProcessGroup(rank=index, world_size=number, group=dist.group.WORLD)
    store.with_name(f"{index}.json").write_text(json.dumps(do(processes, *arguments)))


def in_two(directory: Path, do: Callable[..., Any], *arguments: Any) -> tuple[Ended, Ended]:
    """Do something in two processes."""
    with (
        child_running(as_one_of, 2, 0, directory / "store", do, *arguments) as main,
        child_running(as_one_of, 2, 1, directory / "store", do, *arguments) as other,
    ):
        return main.ended(30), other.ended(30)


def returned(directory: Path) -> list[Any]:
    return [json.loads((directory / f"{index}.json").read_text()) for index in (0, 1)]


def exchange(processes: ProcessGroup) -> list[Any]:
    who = processes.rank
    return [
        processes.on_rank0(lambda: f"from {who}"),
        processes.on_all_ranks(lambda: who),
        processes.rank0_first(lambda: who),
        processes.sum([1.0 + who, 0.5]),
        [processes.any(False), processes.any(who == 1), processes.any(who == 0)],
        processes.all_gather(who),
        processes.is_rank0,
    ]


@pytest.mark.slow
def test_what_is_exchanged_is_the_same_in_all(tmp_path: Path) -> None:
    for ended in in_two(tmp_path, exchange):
        assert ended.code == 0, ended.stderr
    same = [[3.0, 1.0], [False, True, True], [0, 1]]
    assert returned(tmp_path) == [
        ["from 0", 0, 0, *same, True],
        ["from 0", 1, 1, *same, False],
    ]


def test_one_process_exchanges_nothing() -> None:
    assert exchange(ALONE) == ["from 0", 0, 0, [1.0, 0.5], [False, False, True], [0], True]


def note_the_order(processes: ProcessGroup, file: Path) -> bool:
    def look() -> bool:
        found = file.exists()
        file.touch()
        return found

    return processes.rank0_first(look)


@pytest.mark.slow
def test_the_others_find_what_main_left(tmp_path: Path) -> None:
    in_two(tmp_path, note_the_order, tmp_path / "left")
    assert returned(tmp_path) == [False, True]


def fail_in(processes: ProcessGroup, together: str, index: int, error: Exception) -> None:
    def do() -> None:
        if processes.rank == index:
            raise error

    getattr(processes, together)(do)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("together", "index"),
    [("on_all_ranks", 0), ("on_all_ranks", 1), ("rank0_first", 0), ("rank0_first", 1)],
)
def test_a_fault_in_one_ends_all_of_them_alike(together: str, index: int, tmp_path: Path) -> None:
    for ended in in_two(tmp_path, fail_in, together, index, DataError("corpus.txt: is gone")):
        assert (ended.code, ended.stderr) == (3, "error: corpus.txt: is gone\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LockedError("in use"), 6),
        (NonFiniteError("step 3", {"loss": 1.5}), 7),
        (Interrupted("SIGTERM: stopped"), 75),
    ],
)
def test_a_fault_of_main_keeps_its_exit_code(error: Exception, code: int, tmp_path: Path) -> None:
    for ended in in_two(tmp_path, fail_in, "on_rank0", 0, error):
        assert (ended.code, ended.stderr) == (code, f"error: {error}\n")


class UnsendableError(Exception):
    """Cannot be made from its message."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and\n{other}")


@pytest.mark.slow
@pytest.mark.parametrize("together", ["on_rank0", "on_all_ranks"])
def test_an_error_of_another_package_is_one_line(together: str, tmp_path: Path) -> None:
    main, other = in_two(tmp_path, fail_unsendably, together)
    assert main.code == 9 and "Traceback" in main.stderr
    assert (other.code, other.stderr) == (9, "error: process 0 failed: UnsendableError: 1 and 2\n")


def fail_unsendably(processes: ProcessGroup, together: str) -> None:
    fail_in(processes, together, 0, UnsendableError(1, 2))


def die_in(processes: ProcessGroup, index: int) -> None:
    processes.sum([0.0])  # one that dies before both have joined is another fault

    def do() -> None:
        if processes.rank == index:
            os.kill(os.getpid(), signal.SIGKILL)

    processes.on_all_ranks(do)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_none_waits_for_one_that_has_died(index: int, tmp_path: Path) -> None:
    ended = in_two(tmp_path, die_in, index)
    assert ended[index].code == KILLED
    assert ended[1 - index].code == 9 and "gloo" in ended[1 - index].stderr


def fail_when_the_other_is_dead(processes: ProcessGroup) -> None:
    processes.sum([0.0])  # both have joined
    if processes.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)

    def do() -> None:
        raise DataError("the text is gone")

    processes.on_rank0(do)


@pytest.mark.slow
def test_a_fault_of_its_own_matters_more_than_a_lost_process(tmp_path: Path) -> None:
    main, other = in_two(tmp_path, fail_when_the_other_is_dead)
    assert other.code == KILLED
    assert (main.code, main.stderr) == (3, "error: the text is gone\n")
