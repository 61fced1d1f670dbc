"""Facts of this machine at this moment: free memory and disk, and the age of this process."""

import os
import shutil
from pathlib import Path
from typing import Final

import torch

from model_foundry.foundation.hardware import memory_bytes

MEMORY_FACTS: Final = Path("/proc/meminfo")
GROUP_USE: Final = Path("/sys/fs/cgroup/memory.current")
GROUP_FACTS: Final = Path("/sys/fs/cgroup/memory.stat")
PROCESS: Final = Path("/proc/self")


def device_memory(device: torch.device) -> tuple[int | None, int | None]:
    """Return the bytes that are free on a device, and those that it has; None: not known."""
    if device.type == "cuda":
        free, installed = torch.cuda.mem_get_info(device)
        return free, installed
    return _free_memory(), memory_bytes()


def _free_memory() -> int | None:
    """Return the bytes that new processes can take without swapping; None: not known."""
    try:
        lines = MEMORY_FACTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    [free] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit = memory_bytes()
    try:
        used = int(GROUP_USE.read_text(encoding="utf-8")) - _reclaimable()
    except (OSError, ValueError):
        return free
    return free if limit is None else min(free, max(0, limit - used))


def _reclaimable() -> int:
    """Return the bytes of files that the control group has cached and is not using, which count as
    used and are given up where memory is short; 0: not known."""
    try:
        lines = GROUP_FACTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def resident_bytes() -> int:
    """Return the memory of this process; 0: not known."""
    try:
        pages = (PROCESS / "statm").read_text(encoding="utf-8").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def process_seconds() -> float | None:
    """Return the seconds since this process was started; None: not known."""
    try:
        begun = (PROCESS / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        up = Path("/proc/uptime").read_text(encoding="utf-8").split()[0]
    except OSError:
        return None
    return float(up) - int(begun) / os.sysconf("SC_CLK_TCK")


def existing_parent(path: Path) -> Path:
    """Return the nearest directory above a path that exists."""
    path = path.absolute()
    return next(parent for parent in path.parents if parent.is_dir())


def free_disk(path: Path) -> int | None:
    """Return the free bytes of the disk that a directory will be on; None: not known."""
    try:
        return shutil.disk_usage(existing_parent(path)).free
    except OSError:
        return None
