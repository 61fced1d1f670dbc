"""Facts of this machine that decide how it computes: cores, instructions, vendor.

Choices follow from facts like these and never from a timing: two starts of a run, or two trials of
a study, must not differ by noise. Nothing here imports torch, so that a process can be set up
before it does.
"""

import os
from functools import cache
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
CPU_FACTS = Path("/proc/cpuinfo")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""`max 100000` or `<microseconds of a period> <period>` under version 2 of control groups."""
BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


@cache
def processor() -> dict[str, str]:
    """Return what the system says of the first processor, such as `flags` and `vendor_id`.

    It is empty where the system does not say it in a file (macOS).
    """
    try:
        first = CPU_FACTS.read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def instructions() -> set[str]:
    """Return the names of the instruction sets, as Linux writes them (`avx2`, `avx512f`)."""
    return set(processor().get("flags", "").split())


def computes_in_bf16() -> bool:
    """Tell whether the processor multiplies in bf16; others emulate it, many times slower."""
    return bool(instructions() & BF16_INSTRUCTIONS)


def favours_onednn() -> bool:
    """Tell whether oneDNN multiplies fp32 matrices faster than MKL, torch's default.

    MKL leaves half of an AMD processor with AVX-512 unused. Without AVX-512 it is the faster one,
    and on Intel processors there is no reason to doubt it.
    """
    return processor().get("vendor_id") == "AuthenticAMD" and "avx512f" in instructions()


def usable_cores() -> int:
    """Return the physical cores that this process may use, at least 1.

    Two hardware threads of a core share its multipliers, so that more threads only wait for each
    other. A container may have fewer cores than it sees.
    """
    allowed = _allowed_cpus()
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota() or len(cores)))


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    try:
        return (CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text("utf-8")
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    """Return the cores that the container is granted, rounded up; None: no limit."""
    try:
        granted, _, period = QUOTA.read_text(encoding="utf-8").partition(" ")
    except OSError:
        return None
    return None if granted == "max" else -(-int(granted) // int(period))
