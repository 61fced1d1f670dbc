"""Facts of the machine, read from files that look like those of other machines."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_foundry.foundation import hardware

GENOA = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"
MILAN = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2\n"
SAPPHIRE = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f amx_bf16\n"
SKYLAKE = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f\n"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    hardware.processor.cache_clear()
    yield
    hardware.processor.cache_clear()


@pytest.mark.parametrize(
    ("text", "bf16", "onednn"),
    [
        (GENOA, True, True),
        (MILAN, False, False),
        (SAPPHIRE, True, False),
        (SKYLAKE, False, False),
        ("", False, False),
    ],
)
def test_instructions_and_vendor_decide(
    text: str, bf16: bool, onednn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"{text}\n{text}")
    monkeypatch.setattr(hardware, "CPU_FACTS", tmp_path / "cpuinfo")
    assert (hardware.computes_in_bf16(), hardware.favours_onednn()) == (bf16, onednn)


def test_nothing_is_known_where_the_system_has_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "CPU_FACTS", tmp_path / "missing")
    assert hardware.processor() == {}
    assert not hardware.computes_in_bf16()


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), (None, 4)],
)
def test_two_threads_of_a_core_count_once_and_a_quota_counts(
    quota: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cpu in range(8):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(hardware, "CPUS", tmp_path)
    monkeypatch.setattr(hardware, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert hardware.usable_cores() == expected


@pytest.mark.parametrize(("granted", "is_less"), [("max", False), ("4096", True), (None, False)])
def test_the_memory_is_that_of_the_machine_or_less_of_its_container(
    granted: str | None, is_less: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if granted:
        (tmp_path / "memory.max").write_text(granted + "\n")
    monkeypatch.setattr(hardware, "MEMORY_LIMIT", tmp_path / "memory.max")
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert hardware.memory_bytes() == (4096 if is_less else physical)
