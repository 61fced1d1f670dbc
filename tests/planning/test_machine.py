"""Facts of a machine, from files as Linux has them."""

from pathlib import Path

import pytest
import torch

from model_foundry.planning import machine

GIB = 2**30
CPU = torch.device("cpu")


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of 8 GiB, of which 6 are used, on a machine with 20 GiB free."""
    (tmp_path / "meminfo").write_text(f"MemFree: 1 kB\nMemAvailable: {20 * 2**20} kB\n")
    (tmp_path / "memory.current").write_text(f"{6 * GIB}\n")
    monkeypatch.setattr(machine, "MEMORY_FACTS", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "GROUP_USE", tmp_path / "memory.current")
    monkeypatch.setattr(machine, "GROUP_FACTS", tmp_path / "memory.stat")
    monkeypatch.setattr(machine, "memory_bytes", lambda: 8 * GIB)
    return tmp_path


def test_cached_files_do_not_take_memory(group: Path) -> None:
    facts = f"anon {GIB}\ninactive_anon {GIB}\nactive_file {GIB}\ninactive_file {4 * GIB}\n"
    (group / "memory.stat").write_text(facts)
    assert machine.device_memory(CPU) == (6 * GIB, 8 * GIB)


def test_a_group_without_facts_is_taken_at_its_word(group: Path) -> None:
    assert machine.device_memory(CPU) == (2 * GIB, 8 * GIB)
    (group / "memory.stat").write_text(f"total_inactive_file {GIB}\n")
    assert machine.device_memory(CPU) == (2 * GIB, 8 * GIB)


def test_a_group_takes_no_more_than_the_machine_has(group: Path) -> None:
    (group / "memory.stat").write_text(f"inactive_file {6 * GIB}\n")
    (group / "meminfo").write_text("MemAvailable: 1024 kB\n")
    assert machine.device_memory(CPU) == (2**20, 8 * GIB)


def test_without_a_group_the_machine_counts(group: Path) -> None:
    (group / "memory.current").unlink()
    assert machine.device_memory(CPU) == (20 * GIB, 8 * GIB)
