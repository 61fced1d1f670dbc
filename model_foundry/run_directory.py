"""A run on disk: where each thing lies, how far the run has come, and who may write into it.

Everything after training (evaluation, generation, comparison) reads a run through this file, and
never the trainer's memory.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from model_foundry.config import ExperimentConfig, load_config
from model_foundry.durable import write_text
from model_foundry.errors import ConfigError, ResumeError, SaveError, exit_code_of

State = Literal["running", "completed", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How far a run has come. A run that crashed is still `running` though its process is gone."""

    state: State
    step: int = 0
    """Optimizer steps made."""
    last_good_step: int | None = None
    """Step of the newest checkpoint; None before the first."""
    reason: str | None = None
    """Why it stopped, where it did not complete."""
    exit_code: int | None = None
    """What the command returned; None while it runs."""
    pid: int | None = None
    """Process that runs or ran it."""
    attempt: int = 1
    """How many times the run was started."""
    time: str = ""
    """When this was written, in UTC."""


class RunDirectory:
    """The directory of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.config_file = self.path / "config.yaml"
        self.status_file = self.path / "status.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.tokenizer = self.path / "tokenizer"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.evaluation = self.path / "evaluation"

    def checkpoint(self, step: int) -> Path:
        """Return the directory of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step-{step:08d}"

    def holds_a_run(self) -> bool:
        """Tell whether a run was started here."""
        return self.config_file.exists() or self.status_file.exists()

    def require_free(self) -> None:
        """Refuse a directory in which a run was started.

        Raises:
            ResumeError: a run is there already.
            ConfigError: the path is no directory, or one that holds something else.
            SaveError: the directory cannot be made.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"output_dir: {self.path} is a file; name a directory")
        place = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise SaveError(f"output_dir: {self.path} cannot be made, {place} is not writable")
        if self.holds_a_run():
            status = self.status()
            found = f"a run, {status.state} at step {status.step}," if status else "a run"
            raise ResumeError(
                f"output_dir: {self.path} already holds {found} which is kept; start with --fresh "
                "(in Python fresh=True) to move it aside, or name another output_dir"
            )
        foreign = sorted(p.name for p in self.path.glob("*") if p != self.tokenizer)
        if foreign:
            raise ConfigError(
                f"output_dir: {self.path} holds what belongs to no run ({foreign[0]}); name an "
                "empty or a new directory"
            )

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
        return load_config(self.config_file)

    def status(self) -> RunStatus | None:
        """Read how far the run has come; None when nothing was written yet.

        Raises:
            ConfigError: the file was damaged after it was written.
        """
        if not self.status_file.is_file():
            return None
        try:
            return RunStatus(**json.loads(self.status_file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self.status_file}: is no status of a run ({error})") from error

    def write_status(self, status: RunStatus) -> None:
        """Replace `status.json`, stamping the time and the process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        stamped = asdict(status) | {"time": now, "pid": os.getpid()}
        write_text(self.status_file, json.dumps(stamped, indent=1) + "\n")

    def write_measurement(self, name: str, values: dict[str, Any]) -> Path:
        """Write one measurement as `evaluation/<name>.json` and return its path."""
        self.evaluation.mkdir(exist_ok=True)
        path = self.evaluation / f"{name}.json"
        write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
        return path


@dataclass
class RunProgress:
    """What the training of a run keeps up to date, and its status tells."""

    step: int = 0
    """Optimizer steps made."""
    last_good_step: int | None = None
    """Step of the newest checkpoint; None before the first."""


@contextmanager
def running(run: RunDirectory, config_text: str, progress: RunProgress) -> Iterator[None]:
    """Start a run in a free directory; whatever way the block ends stands in `status.json`.

    Raises:
        ResumeError: a run is there already.
        SaveError: the directory cannot be written.
    """
    run.require_free()
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"output_dir: {run.path} cannot be made ({error.strerror})") from error
    write_text(run.config_file, config_text)

    def record(state: State, reason: str | None = None, exit_code: int | None = None) -> None:
        run.write_status(
            RunStatus(
                state=state,
                step=progress.step,
                last_good_step=progress.last_good_step,
                reason=reason,
                exit_code=exit_code,
            )
        )

    record("running")
    try:
        yield
    except BaseException as error:
        with suppress(SaveError):  # on a full disk, what went wrong matters more than its record
            if isinstance(error, KeyboardInterrupt):
                record("interrupted", "interrupted from the keyboard", 130)
            else:
                record("failed", f"{type(error).__name__}: {error}", exit_code_of(error))
        raise
    record("completed", exit_code=0)
