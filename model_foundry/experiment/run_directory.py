"""The directory of a run, for its writer: its status, and the lock that keeps other writers out.

The names of its files, and reading them, are in `run_reports/run_files.py`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_foundry.errors import (
    KEYBOARD_EXIT_CODE,
    ConfigError,
    Interrupted,
    LockedError,
    SaveError,
    exit_code_of,
)
from model_foundry.foundation.atomic_files import PREFIXES, remove_debris, write_text
from model_foundry.foundation.locks import exclusive
from model_foundry.foundation.strict_json import strict_json
from model_foundry.run_reports.run_files import (
    LOCK,
    AttemptRecord,
    BestEvaluated,
    RunFacts,
    RunFiles,
    RunStatus,
    State,
)
from model_foundry.training.state import Best, TrainState

__all__ = ["BestEvaluated", "Record", "RunDirectory", "RunStatus", "running"]


class RunDirectory(RunFiles):
    """The directory of one run, for its writer too."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._is_ours: Callable[[], bool] = lambda: True  # until it is held

    def located(self, best: Best | None) -> BestEvaluated | None:
        """Return an evaluation with the checkpoint of its step, if that is kept."""
        if best is None:
            return None
        place = self.checkpoint(best.step)
        kept = place.relative_to(self.path).as_posix() if place.is_dir() else None
        return BestEvaluated(metric=best.metric, value=best.value, step=best.step, checkpoint=kept)

    def require_usable(self) -> None:
        """Refuse a directory that cannot hold a run.

        Raises:
            ConfigError: the path is a file, or a directory with other content.
            SaveError: the directory cannot be created.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"output_dir: {self.path} is a file; name a directory")
        place = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        fault = "is not writable" if place.is_dir() else "is a file, not a directory"
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise SaveError(f"output_dir: {self.path} cannot be created: {place} {fault}")
        found = {path.name for path in self.path.glob("*")} - {self.tokenizer.name}
        foreign = sorted(name for name in found if not name.startswith(PREFIXES))
        if foreign and foreign != [LOCK] and not self.holds_a_run():
            raise ConfigError(
                f"output_dir: {self.path} holds other files ({foreign[0]}); name an "
                "empty or a new directory"
            )

    @contextmanager
    def held(self, *, lock: bool = True) -> Iterator[None]:
        """Lock the directory for the length of the block, and create it if needed.

        Directory and lock are removed again if no run was started.

        Args:
            lock: false on a file system without locks.

        Raises:
            LockedError: another process uses the directory.
            SaveError: the directory cannot be written.
        """
        made = [p for p in (self.path, *self.path.parents) if not p.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(
                f"output_dir: {self.path} cannot be created ({error.strerror})"
            ) from error
        try:
            with exclusive(self.lock_file) if lock else nullcontext(lambda: True) as is_ours:
                self._is_ours = is_ours
                try:
                    yield
                finally:
                    if is_ours() and not self.holds_a_run():
                        self.lock_file.unlink(missing_ok=True)
        finally:
            for directory in made:
                with suppress(OSError):  # it is in use by now
                    directory.rmdir()

    def require_held(self) -> None:
        """Raise a `LockedError` if the directory was moved or deleted, or holds another run."""
        if not self._is_ours():
            raise LockedError(
                f"output_dir: {self.path} was moved, deleted or taken over during the run; "
                "nothing more is written there"
            )

    def remove_debris(self) -> list[str]:
        """Remove the half-written files of a killed process; return their names."""
        places = (self.path, self.checkpoints, self.evaluation)
        return [name for place in places for name in remove_debris(place)]

    def move_aside(self) -> Path | None:
        """Rename a directory that holds a run to `<name>.old-N`; None when there was none."""
        if not self.holds_a_run():
            return None
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.old-{number}")).exists():
            number += 1
        return self.path.rename(target)

    def write_status(self, status: RunStatus) -> None:
        """Replace `status.json`, stamping the time and the process."""
        stamped = asdict(status) | {"time": _now(), "pid": os.getpid()}
        write_text(self.status_file, strict_json(stamped, indent=1) + "\n")

    def write_measurement(self, name: str, values: dict[str, Any]) -> Path:
        """Write one measurement as `evaluation/<name>.json` and return its path."""
        text = strict_json(values, indent=1, ensure_ascii=False)
        return _write_json(self.evaluation / f"{name}.json", text)

    def write_diagnosis(self, name: str, facts: dict[str, Any]) -> Path:
        """Write the facts of a failure as `diagnostics/<name>.json` and return its path."""
        text = strict_json(facts, indent=1, ensure_ascii=False, named=True)
        return _write_json(self.diagnostics / f"{name}.json", text)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _attempts(run: RunDirectory, run_id: str, step: int) -> tuple[AttemptRecord, ...]:
    """Return the attempts at a run up to one that starts now at `step`.

    The earlier ones are unknown if the status is damaged, or of another run.
    """
    earlier: list[AttemptRecord] = []
    with suppress(ConfigError, OSError):
        status = run.status()
        if status is not None and status.run_id == run_id and status.attempts:
            *earlier, last = status.attempts
            earlier.append(replace(last, ended=status.time))
    return (*earlier, AttemptRecord(started=_now(), step=step))


def _write_json(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise SaveError(f"{path}: cannot be written ({error.strerror}).") from error
    write_text(path, text + "\n")
    return path


Record = Callable[..., None]


@contextmanager
def running(
    run: RunDirectory,
    progress: TrainState,
    run_id: str,
    *,
    attempt: int = 1,
    facts: RunFacts | None = None,
) -> Iterator[Record]:
    """Keep `status.json` up to date for the length of the block, however it ends.

    Args:
        facts: what reports name the run by; None: they do not know it.

    Yields:
        A function without arguments that writes the present step.
    """
    fixed: dict[str, Any] = {"attempt": attempt, "run_id": run_id, "facts": facts}
    fixed["attempts"] = _attempts(run, run_id, progress.step)

    def record(
        state: State = "running", reason: str | None = None, code: int | None = None
    ) -> None:
        run.require_held()
        run.write_status(
            RunStatus(
                state=state,
                step=progress.step,
                last_good_step=progress.last_good_step,
                best=run.located(progress.best),
                reason=reason,
                exit_code=code,
                **fixed,
            )
        )

    record()
    try:
        yield record
    except BaseException as error:
        # on a full disk or in a lost directory, the first error matters more
        with suppress(SaveError, LockedError):
            if isinstance(error, Interrupted):
                record("interrupted", str(error), error.exit_code)
            elif isinstance(error, KeyboardInterrupt):
                record("interrupted", "interrupted from the keyboard", KEYBOARD_EXIT_CODE)
            else:
                record("failed", f"{type(error).__name__}: {error}", exit_code_of(error))
        raise
    record("completed", progress.stop_reason, code=0)
