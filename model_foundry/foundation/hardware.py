"""Facts of this machine that decide how it computes: cores, instructions, vendor.

Choices depend on facts and never on a timing, so that two starts of a run do not differ by noise.
Nothing here imports torch, so that a process can be set up before it does.
"""

import os
import resource
import sys
from functools import cache
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
CPU_FACTS = Path("/proc/cpuinfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""`max` or bytes, in version 2 of control groups."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""`max 100000` or `<microseconds per period> <period>`, in version 2 of control groups."""
BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


@cache
def processor() -> dict[str, str]:
    """Return the facts of the first processor, such as `flags` and `vendor_id`; empty on macOS."""
    try:
        first = CPU_FACTS.read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def instructions() -> set[str]:
    """Return the names of the instruction sets as in Linux (`avx2`, `avx512f`)."""
    return set(processor().get("flags", "").split())


def computes_in_bf16() -> bool:
    """Return True if the processor multiplies in bf16; others emulate it, many times slower."""
    return bool(instructions() & BF16_INSTRUCTIONS)


def favours_onednn() -> bool:
    """Return True if oneDNN multiplies fp32 matrices faster than MKL, torch's default.

    MKL leaves half of an AMD processor with AVX-512 unused; elsewhere it is faster.
    """
    return processor().get("vendor_id") == "AuthenticAMD" and "avx512f" in instructions()


def usable_cores() -> int:
    """Return the number of physical cores that this process may use, at least 1.

    The hardware threads of a core share its multipliers, so more threads only wait for each other.
    A container may be granted fewer cores than it sees.
    """
    linux = hasattr(os, "sched_getaffinity")
    allowed = os.sched_getaffinity(0) if linux else range(os.cpu_count() or 1)
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota() or len(cores)))


def memory_bytes() -> int | None:
    """Return the memory that the machine has, or grants to its container; None: it is not known."""
    if not hasattr(os, "sysconf"):  # Windows
        return None
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        granted = MEMORY_LIMIT.read_text(encoding="utf-8").strip()
    except OSError:
        return physical
    return physical if granted == "max" else min(physical, int(granted))


def _siblings(cpu: int) -> str:
    try:
        return (CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text("utf-8")
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    """Return the cores granted to the container, rounded up; None: no limit."""
    try:
        granted, _, period = QUOTA.read_text(encoding="utf-8").partition(" ")
    except OSError:
        return None
    return None if granted == "max" else -(-int(granted) // int(period))


def peak_resident_bytes() -> int:
    """Return the most bytes that this process has had in memory."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, KiB elsewhere
