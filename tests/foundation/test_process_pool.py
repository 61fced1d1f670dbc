"""Work in several processes: in order, with every error reported, and no process left behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_foundry.errors import DataError, Interrupted, WorkerError
from model_foundry.foundation import process_pool
from model_foundry.foundation.hardware import usable_cores
from model_foundry.foundation.interrupts import handle_signals
from model_foundry.foundation.process_pool import map_in_order, processes_for
from tests.children import KILLED, child_running
from tests.waiting import wait_until


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 1, 2, 3])
@pytest.mark.parametrize("number", [0, 1, 2, 40])
def test_results_come_in_the_order_of_the_batches(processes: int, number: int) -> None:
    def slow_at_first(batch: int) -> int:
        time.sleep(0.02 if batch == 0 else 0)
        return batch * batch

    found = list(map_in_order(slow_at_first, range(number), processes=processes))
    assert found == [n * n for n in range(number)]


@pytest.mark.slow
def test_the_work_is_done_elsewhere_if_there_is_more_than_one_batch() -> None:
    def who(_: int) -> int:
        return os.getpid()

    assert set(map_in_order(who, range(1), processes=2)) == {os.getpid()}
    assert set(map_in_order(who, range(9), processes=1)) == {os.getpid()}
    others = set(map_in_order(who, range(9), processes=2))
    assert os.getpid() not in others and 1 <= len(others) <= 2
    wait_until(lambda: not any(alive(other) for other in others))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_batches_are_read_as_they_are_needed(processes: int) -> None:
    batches = iter(range(1000))
    results = map_in_order(lambda batch: batch, batches, processes=processes)
    for _ in range(5):
        next(results)
    assert next(batches) <= 5 + process_pool.AHEAD * max(processes, 1)
    del results  # which ends the processes


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_an_error_of_the_work_or_the_batches_comes_through(processes: int) -> None:
    def refuse(batch: int) -> int:
        if batch == 3:
            raise DataError("a document of batch 3")
        return batch

    def torn() -> Iterator[int]:
        yield from range(3)
        raise DataError("line 4")

    for function, batches in ((refuse, range(9)), (lambda batch: batch, torn())):
        with pytest.raises(DataError, match=r"a document of batch 3|line 4"):
            list(map_in_order(function, batches, processes=processes))


@pytest.mark.slow
def test_several_can_be_under_way_one_in_the_other() -> None:
    outer = map_in_order(lambda batch: batch * 2, range(20), processes=2)
    first = next(outer)
    assert list(map_in_order(lambda batch: batch * 3, range(5), processes=2)) == [0, 3, 6, 9, 12]
    assert [first, *outer] == [n * 2 for n in range(20)]


@pytest.mark.slow
def test_a_process_that_dies_is_reported() -> None:
    def die(batch: int) -> int:
        if batch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    with pytest.raises(WorkerError, match=r"preprocessing_num_workers: .* has died") as caught:
        list(map_in_order(die, range(20), processes=2))
    assert caught.value.exit_code == 9
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_others_end_with_a_process_that_dies_though_signals_are_kept_from_them(
    tmp_path: Path,
) -> None:
    """One that waits for a lock of the dead one would never end by itself."""

    def work(batch: int) -> int:
        if batch == 0:
            time.sleep(5)
            (tmp_path / "ended by itself").touch()
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
        return batch

    with handle_signals(), pytest.raises(WorkerError, match="has died"):
        list(map_in_order(work, range(20), processes=2))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_signal_to_all_processes_is_a_request_to_stop(tmp_path: Path) -> None:
    with child_running(work_and_tell, tmp_path) as parent:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        for path in tmp_path.iterdir():
            os.kill(int(path.name), signal.SIGTERM)
        parent.send(signal.SIGTERM)
        assert parent.ended().code == Interrupted.exit_code


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_a_signal_stops_the_work(processes: int) -> None:
    def at_three(batch: int) -> int:
        if batch == 3:
            os.kill(parent, signal.SIGTERM)
        time.sleep(0.01)
        return batch

    parent = os.getpid()
    with handle_signals(), pytest.raises(Interrupted, match="SIGTERM"):
        list(map_in_order(at_three, range(500), processes=processes))
    assert threading.active_count() < 10


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def work_and_tell(directory: Path) -> None:
    """Work for a long time; the processes leave their numbers in a directory."""

    def work(batch: int) -> int:
        (directory / str(os.getpid())).touch()
        time.sleep(0.05)
        return batch

    with handle_signals():
        for _ in map_in_order(work, range(100_000), processes=2):
            pass


@pytest.mark.slow
def test_the_processes_of_a_killed_one_end(tmp_path: Path) -> None:
    with child_running(work_and_tell, tmp_path) as parent:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        parent.send(signal.SIGKILL)
        assert parent.ended().code == KILLED
    numbers = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(alive(number) for number in numbers))


@pytest.mark.slow
def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "TOKENIZERS_PARALLELISM"

    def seen(_: int) -> str | None:
        return os.environ.get(name)

    for before in ("true", None):
        monkeypatch.delenv(name, raising=False)
        if before is not None:
            monkeypatch.setenv(name, before)
        assert set(map_in_order(seen, range(3), processes=2)) == {"false"}
        assert os.environ.get(name) == before


def test_as_many_processes_as_cores_unless_asked() -> None:
    assert processes_for(None) == min(usable_cores(), 16) >= 1
    assert [processes_for(asked) for asked in (0, 1, 7)] == [0, 1, 7]
