"""Settings of the process: the command line changes them, and nothing else does."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from model_foundry.foundation.hardware import usable_cores

pytestmark = pytest.mark.slow

FAULTS = """
import json, os, resource, sys
import torch
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(2**24).fill_(1.0)  # 64 MiB; glibc keeps up to 32 by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fewest = min(faults() for _ in range(4))
print(json.dumps([fewest, torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")]))
"""
VARIABLE = "import json, os; print(json.dumps(os.environ['OMP_NUM_THREADS']))"
LARGE_PAGES = 5 * 32  # the fewest faults in which 64 MiB can come back five times: 2 MiB each
KEEPING = """
from model_foundry.cli.process import keep_freed_memory
assert keep_freed_memory()
"""
HEAP = """
import ctypes, json
c = ctypes.CDLL(None)
c.malloc.restype = c.sbrk.restype = ctypes.c_void_p
c.malloc.argtypes = [ctypes.c_size_t]
c.free.argtypes = [ctypes.c_void_p]
begin = c.sbrk(0)
pieces = [c.malloc(2**31 + 1), c.malloc(2**30)]
end = c.sbrk(0)
for piece in pieces:
    c.free(piece)
print(json.dumps([end - begin >= 3 * 2**30, end - c.sbrk(0)]))
"""

THREAD = """
import ctypes, json, os, threading
c = ctypes.CDLL(None)
c.memalign.restype = ctypes.c_void_p
c.memalign.argtypes = [ctypes.c_size_t] * 2
c.free.argtypes = [ctypes.c_void_p]
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def work(times):
    for _ in range(times):
        c.free(c.memalign(64, 64))
def measure():
    work(2_000)
    before = resident()
    work(20_000)
    print(json.dumps(resident() - before))
thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


def run(code: str, **variables: str) -> Any:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_kept_and_comes_back_without_page_faults() -> None:
    plain, *_ = run(FAULTS)
    kept, *_ = run(KEEPING + FAULTS)
    assert plain >= LARGE_PAGES
    assert kept < 5


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_more_is_kept_than_an_int_can_count() -> None:
    """Blocks of two and one gigabytes of address space, none of which is touched."""
    assert run(KEEPING + HEAP) == [True, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_small_blocks_of_a_worker_thread_do_not_pile_up() -> None:
    """Unmerged, they take 3.5 MiB."""
    assert run(KEEPING + THREAD) < 2**18


def test_variables_of_the_environment_are_left_alone() -> None:
    code = "from model_foundry.cli.process import keep_freed_memory\n"
    assert run(code + "print(int(keep_freed_memory()))", MALLOC_TOP_PAD_="4096") == 0


def test_importing_and_training_from_python_change_nothing_of_the_process() -> None:
    code = "import model_foundry, model_foundry.experiment.train\n"
    plain, _, variable = run(code + FAULTS)
    assert plain >= LARGE_PAGES
    assert variable is None


@pytest.mark.parametrize(
    ("asked", "variables", "expected"),
    [
        ("None", {"OMP_NUM_THREADS": "3"}, "3"),
        ("5", {"OMP_NUM_THREADS": "3"}, "5"),
        ("None", {"LOCAL_WORLD_SIZE": "100000"}, "1"),
    ],
)
def test_threads_are_those_asked_for_or_the_cores_of_this_process(
    asked: str, variables: dict[str, str], expected: str
) -> None:
    code = f"from model_foundry.cli.process import set_threads\nset_threads({asked})\n"
    assert run(code + VARIABLE, **variables) == expected


def test_threads_of_a_torch_that_is_imported_already_are_set_as_well() -> None:
    code = "import torch\nfrom model_foundry.cli.process import set_threads\nset_threads(1)\n"
    code += "import json; print(json.dumps(torch.get_num_threads()))"
    assert run(code) == 1


def test_without_a_setting_there_is_a_thread_for_each_usable_core() -> None:
    code = "from model_foundry.cli.process import set_threads\nset_threads(None)\n"
    assert run(code + VARIABLE) == str(usable_cores())


@pytest.mark.parametrize(("call", "expected"), [("", [700, False]), ("main()", [10_000, True])])
def test_garbage_is_collected_seldom_and_not_at_exit_by_the_command_only(
    call: str, expected: list[object]
) -> None:
    """What is registered first is run last: the figures are those of the exit."""
    code = (
        "import atexit, gc, json, sys\n"
        "gc.set_threshold(700)\n"
        "sys.argv = ['foundry', '--version']\n"
        "figures = lambda: [gc.get_threshold()[0], gc.get_freeze_count() > 0]\n"
        "atexit.register(lambda: print('\\n' + json.dumps(figures()), end=''))\n"
        f"from model_foundry.cli import main\n{call}"
    )
    assert run(code) == expected
