"""The state of a run as it is now, which a killed process could not write."""

import os
from typing import Literal

from model_foundry.foundation.locks import holder_of, is_held
from model_foundry.run_reports.run_files import RunFiles, RunStatus

PresentState = Literal[
    "running", "completed", "interrupted", "failed", "killed", "starting", "empty"
]


def present_state(files: RunFiles, status: RunStatus | None) -> PresentState:
    """Return the state of a run.

    A run whose status is `running` is killed if nothing holds its lock. A run that holds no lock
    (`--no-lock`) runs if its process exists; one on another machine cannot be seen, and counts as
    killed. A held lock beside another status is that of an attempt that has not begun to train.
    """
    held = is_held(files.lock_file)
    if status is None:
        return "starting" if held else "empty"
    if status.state != "running":
        return "starting" if held and status.state != "completed" else status.state
    if held or _runs_without_lock(files, status):
        return "running"
    return "killed"


def _runs_without_lock(files: RunFiles, status: RunStatus) -> bool:
    if status.pid is None or holder_of(files.lock_file) == status.pid:
        return False  # it had the lock, and lost it when it died
    try:
        os.kill(status.pid, 0)  # sends nothing
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
