"""Contenders in separate processes, of which one works while the others are frozen.

A contender writes a *tick* to a file after so many steps: a line of JSON with its `step` and the
`time`. In each round all are started, make their first ticks (start-up, compilation, caches) and
are frozen by SIGSTOP; then they are thawed one after the other for one tick each, in alternating
order, and so on. Time spent frozen is subtracted. Two contenders thus run on the same machine
within seconds. Each round starts new processes, since the placement of their memory matters: the
ratio of two programs moved by 5% from one pair of processes to the next. Linux and macOS only.
"""

import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.results import say

WARM_UP: Final = 2  # ticks; the first holds compilation, the second fills caches
PER_START: Final = 2  # comparisons; more would share the luck of one start
PATIENCE: Final = 600.0  # seconds for one tick
LOOK: Final = 0.005  # seconds between two looks at the ticks
PROJECT: Final = Path(__file__).parents[1]


def working_seconds(begun: float, ended: float, pauses: Sequence[tuple[float, float]]) -> float:
    """Return the seconds between two times without the pauses, (from, to) each."""
    paused = sum(max(0.0, min(ended, to) - max(begun, start)) for start, to in pauses)
    return ended - begun - paused


class ContenderError(RuntimeError):
    """A contender has ended or hangs; the message is the end of its output."""


@dataclass
class Contender:
    """One process that works in ticks."""

    name: str
    command: Sequence[str]
    ticks_file: Path
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of this process."""
    started_in: float = 0.0
    """Seconds from its last start to the end of its warm-up."""
    peaks: list[int] = field(default_factory=list)
    """Peak of resident bytes of each process that has ended."""
    _process: subprocess.Popen[bytes] | None = None
    _frozen: list[tuple[float, float]] = field(default_factory=list)
    _stopped: float | None = None
    _reaping: threading.Lock = field(default_factory=threading.Lock)
    """Two threads may wait for the process; only one of them gets its status."""

    def start(self, ticks: int = WARM_UP) -> None:
        """Start it, wait until it has made its first ticks, and freeze it."""
        self._frozen.clear()
        self.ticks_file.unlink(missing_ok=True)
        begun = time.time()
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=PROJECT,
                env={**os.environ, "HF_HUB_OFFLINE": "1", **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its children are frozen with it
            )
        self._wait_for_ticks(ticks)
        self._freeze()
        self.started_in = self.ticks()[ticks - 1]["time"] - begun

    def advance(self, ticks: int = 1) -> float:
        """Let it work for `ticks` ticks; return its steps per second since the tick before."""
        before = self.ticks()
        self.thaw()
        self._wait_for_ticks(len(before) + ticks)
        self._freeze()
        first, last = before[-1], self.ticks()[-1]
        steps: int = last["step"] - first["step"]
        return steps / working_seconds(first["time"], last["time"], self._frozen)

    def thaw(self) -> None:
        """Continue it."""
        assert self._stopped is not None  # it was frozen
        self._frozen.append((self._stopped, time.time()))
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it, and record its peak memory."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._reap(block=True)

    @property
    def peak_bytes(self) -> float:
        """Peak of resident memory: the median over its processes."""
        return median(self.peaks)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None  # it was started
        return self._process.pid

    @property
    def cuda_bytes(self) -> int:
        """Peak of GPU memory in its ticks; 0: they report none."""
        ticks = self.ticks()
        found = [tick.get("cuda_bytes", 0) for tick in ticks]  # by loops, in bytes
        found += [int(tick.get("train/peak_memory_mib", 0) * 2**20) for tick in ticks]  # by foundry
        return max(found, default=0)

    def require_alive(self) -> None:
        """Raise a `ContenderError` if it has ended."""
        if self._reap(block=False):
            raise ContenderError(f"{self.name} has ended: {self._last_words()}")

    def ticks(self) -> list[dict[str, Any]]:
        """Return the complete lines of its file about training."""
        if not self.ticks_file.exists():
            return []
        lines = self.ticks_file.read_bytes().splitlines(keepends=True)
        ticks = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [tick for tick in ticks if not any(key.startswith("eval/") for key in tick)]

    def _wait_for_ticks(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.ticks()) < number:
            self.require_alive()
            if time.monotonic() > deadline:
                raise ContenderError(f"{self.name} hangs: {self._last_words()}")
            time.sleep(LOOK)

    def _freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        self._stopped = time.time()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None  # it was started
        if self._process.returncode is None:
            os.killpg(self._process.pid, number)

    def _reap(self, *, block: bool) -> bool:
        """Return whether it has ended; only `wait4` reports the memory of one child."""
        process = self._process
        assert process is not None
        with self._reaping:
            if process.returncode is not None:
                return True
            pid, status, usage = os.wait4(process.pid, 0 if block else os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                self.peaks.append(usage.ru_maxrss * 1024)  # KiB on Linux
            return pid != 0

    def _last_words(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "no output")[:300]


@dataclass
class Measured:
    """Results of the rounds."""

    speeds: dict[str, dict[int, float]]
    """Steps a second, by contender and comparison."""
    contenders: dict[str, Contender]
    faults: dict[str, str]
    """Reason for the missing figures of a contender, by its name."""
    per_start: int
    """Comparisons for each start."""
    started_in: dict[str, float] = field(default_factory=dict)
    """Seconds from a start, with nothing beside it, to the end of the warm-up."""

    def ratios(self, name: str, other: str) -> tuple[float, ...]:
        """Return the speed of one divided by that of another, for each comparison of both."""
        ours, theirs = self.speeds[name], self.speeds[other]
        return tuple(ours[number] / theirs[number] for number in ours if number in theirs)


@contextmanager
def _killed_at_the_end(contenders: Sequence[Contender]) -> Iterator[None]:
    try:
        yield
    finally:
        for contender in contenders:
            contender.end()


def run_rounds(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    near: frozenset[str] = frozenset(),
    near_rounds: int = 0,
) -> Measured:
    """Start all contenders again in each round, and let them work in turn.

    Args:
        rounds: number of rounds of all contenders.
        near: names of contenders with further rounds, whose ratio must be known more precisely.
        near_rounds: number of rounds of these in total.
    """
    measured = _nothing_yet(contenders, per_start=PER_START)
    for number in range(max(rounds, near_rounds)):
        taking_part = [
            each
            for each in contenders
            if each.name not in measured.faults
            and (number < rounds or (each.name in near and number < near_rounds))
        ]
        with _killed_at_the_end(taking_part):
            if number == 0:
                for each in taking_part:
                    _start_alone(measured, each)
            else:  # nothing is timed
                _start_two_at_once(measured, taking_part)
            for turn in range(number * PER_START, (number + 1) * PER_START):
                for each in taking_part if turn % 2 == 0 else reversed(taking_part):
                    if each.name not in measured.faults:
                        _or_note(measured, each, partial(_advance, measured, each, turn))
                say(f"  comparison {turn + 1}: {_figures(measured, turn)}")
    return measured


def run_afresh(
    contenders: Sequence[Contender], *, rounds: int, ticks: int, deadline: float = math.inf
) -> Measured:
    """Start each contender again in each round, and let it work alone.

    For accelerators, whose queued work and memory no signal freezes.

    Args:
        deadline: on the clock of `time.monotonic`; none is started later.
    """
    measured = _nothing_yet(contenders, per_start=1)
    for number in range(rounds):
        for each in contenders if number % 2 == 0 else reversed(contenders):
            if each.name in measured.faults:
                continue
            if time.monotonic() >= deadline:
                if not measured.speeds[each.name]:
                    measured.faults[each.name] = "there was no time left"
                continue
            with _killed_at_the_end([each]):
                _start_alone(measured, each)
                if each.name not in measured.faults:
                    advance = partial(_advance, measured, each, number, ticks=ticks)
                    _or_note(measured, each, advance)
        if figures := _figures(measured, number):
            say(f"  round {number + 1}: {figures}")
    return measured


def _nothing_yet(contenders: Sequence[Contender], *, per_start: int) -> Measured:
    speeds: dict[str, dict[int, float]] = {each.name: {} for each in contenders}
    return Measured(speeds, {each.name: each for each in contenders}, {}, per_start)


def _start_alone(measured: Measured, contender: Contender) -> None:
    _or_note(measured, contender, contender.start)
    if contender.name not in measured.started_in:
        measured.started_in[contender.name] = contender.started_in
        fault = measured.faults.get(contender.name)
        say(f"  {contender.name}: " + (fault or f"{contender.started_in:.1f} s"))


def _start_two_at_once(measured: Measured, contenders: Sequence[Contender]) -> None:
    pool = ThreadPoolExecutor(2)
    try:
        list(pool.map(lambda each: _or_note(measured, each, each.start), contenders))
    except BaseException:
        for each in contenders:  # no thread keeps waiting for them
            each.end()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _advance(measured: Measured, contender: Contender, number: int, ticks: int = 1) -> None:
    measured.speeds[contender.name][number] = contender.advance(ticks)


def _or_note(measured: Measured, contender: Contender, call: Callable[[], None]) -> None:
    try:
        call()
    except ContenderError as error:
        measured.faults[contender.name] = str(error)
        contender.end()  # it may hang, and compute beside the others


def _figures(measured: Measured, number: int) -> str:
    return ", ".join(
        f"{name} {speeds[number]:.4g}"
        for name, speeds in measured.speeds.items()
        if number in speeds
    )
