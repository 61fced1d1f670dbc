"""The directory of a run: its paths, its status, and the lock that keeps other writers out.

Everything after training (evaluation, generation, comparison) reads a run through this file.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from model_foundry.config import ExperimentConfig, read_saved_config
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
from model_foundry.foundation.paths import written_path
from model_foundry.foundation.strict_json import strict_json
from model_foundry.training.state import Best, TrainState

LOCK = ".lock"
State = Literal["running", "completed", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True)
class BestEvaluated(Best):
    """The best evaluation of a run, and its checkpoint."""

    checkpoint: str | None = None
    """Path of its checkpoint within the run directory; None: it is not kept."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """The status of a run. A crashed run is still `running`, although its process is gone."""

    state: State
    step: int = 0
    """Optimizer steps made."""
    last_good_step: int | None = None
    """Step of the newest checkpoint; None before the first."""
    best: BestEvaluated | None = None
    """The best evaluation so far; None before the first."""
    reason: str | None = None
    """Reason why it stopped before completion."""
    exit_code: int | None = None
    """Exit code of the command; None while it runs."""
    pid: int | None = None
    """Id of the process that runs or ran it."""
    attempt: int = 1
    """Number of times the run was started."""
    run_id: str | None = None
    """Id of the run, repeated in its checkpoints."""
    time: str = ""
    """Time of writing, in UTC."""


class RunDirectory:
    """The directory of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(written_path(path))
        self.config_file = self.path / "config.yaml"
        self.status_file = self.path / "status.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.tokenizer = self.path / "tokenizer"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.evaluation = self.path / "evaluation"
        self.diagnostics = self.path / "diagnostics"
        self.lock_file = self.path / LOCK
        self._is_ours: Callable[[], bool] = lambda: True  # until it is held

    def checkpoint(self, step: int) -> Path:
        """Return the directory of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step-{step:08d}"

    def located(self, best: Best | None) -> BestEvaluated | None:
        """Return an evaluation with the checkpoint of its step, if that is kept."""
        if best is None:
            return None
        place = self.checkpoint(best.step)
        kept = place.relative_to(self.path).as_posix() if place.is_dir() else None
        return BestEvaluated(metric=best.metric, value=best.value, step=best.step, checkpoint=kept)

    def holds_a_run(self) -> bool:
        """Return True if a run was started here."""
        return self.config_file.exists() or self.status_file.exists()

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

    def config(self) -> ExperimentConfig:
        """Load the resolved configuration of the run.

        Raises:
            ConfigError: there is no run here.
        """
        if not self.config_file.is_file():
            raise ConfigError(f"{self.path}: is not the directory of a run (it has no config.yaml)")
        return read_saved_config(self.config_file)

    def status(self) -> RunStatus | None:
        """Read the status of the run; None: there is none yet.

        Raises:
            ConfigError: the file was damaged after it was written.
        """
        if not self.status_file.is_file():
            return None
        try:
            raw = json.loads(self.status_file.read_text(encoding="utf-8"))
            status = RunStatus(**raw)
            return replace(status, best=raw.get("best") and BestEvaluated(**raw["best"]))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.status_file}: is not a status file ({error}); delete it"
            ) from error

    def write_status(self, status: RunStatus) -> None:
        """Replace `status.json`, stamping the time and the process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        stamped = asdict(status) | {"time": now, "pid": os.getpid()}
        write_text(self.status_file, strict_json(stamped, indent=1) + "\n")

    def write_measurement(self, name: str, values: dict[str, Any]) -> Path:
        """Write one measurement as `evaluation/<name>.json` and return its path."""
        text = strict_json(values, indent=1, ensure_ascii=False)
        return _write_json(self.evaluation / f"{name}.json", text)

    def write_diagnosis(self, name: str, facts: dict[str, Any]) -> Path:
        """Write the facts of a failure as `diagnostics/<name>.json` and return its path."""
        text = strict_json(facts, indent=1, ensure_ascii=False, named=True)
        return _write_json(self.diagnostics / f"{name}.json", text)

    def measurement(self, name: str) -> dict[str, Any] | None:
        """Read `evaluation/<name>.json`; None where it is missing or damaged."""
        try:
            values = json.loads((self.evaluation / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) else None


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
    run: RunDirectory, progress: TrainState, *, run_id: str, attempt: int = 1
) -> Iterator[Record]:
    """Keep `status.json` up to date for the length of the block, however it ends.

    Yields:
        A function without arguments that writes the present step.
    """

    def record(
        state: State = "running", reason: str | None = None, exit_code: int | None = None
    ) -> None:
        run.require_held()
        run.write_status(
            RunStatus(
                state=state,
                step=progress.step,
                last_good_step=progress.last_good_step,
                best=run.located(progress.best),
                reason=reason,
                exit_code=exit_code,
                attempt=attempt,
                run_id=run_id,
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
    record("completed", exit_code=0)
