"""The files of a run, for reading: its paths, its status, its measurements.

`experiment/run_directory.py` writes them.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from model_foundry.config import ExperimentConfig, read_saved_config
from model_foundry.errors import ConfigError
from model_foundry.foundation.paths import written_path
from model_foundry.training.state import Best

LOCK = ".lock"
State = Literal["running", "completed", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True)
class BestEvaluated(Best):
    """The best evaluation of a run, and its checkpoint."""

    checkpoint: str | None = None
    """Path of its checkpoint within the run directory; None: it is not kept."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts of a run that its reports name, and that no step changes."""

    name: str
    """The name of the experiment."""
    architecture: str
    total_steps: int
    """Optimizer steps of the whole run."""
    parameters: int | None = None
    """Parameters of the model, tied ones once; None: unknown."""
    best_metric: str = "loss"
    """The metric that decides which evaluation is the best."""
    greater_is_better: bool = False
    """True if its largest value is the best."""
    details: tuple[str, ...] = ()
    """Figures that accompany others, which reports leave out."""
    saves: bool = True
    """False: the run writes no checkpoints."""


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One attempt at a run."""

    started: str
    """Time in UTC, in ISO 8601."""
    step: int
    """Step from which it resumed; 0: the beginning."""
    ended: str | None = None
    """Time of its last status; None: it is the last attempt, whose status is that of the run."""


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
    """Reason why it stopped before its last step; None: it did not."""
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
    facts: RunFacts | None = None
    """None: the run was not started by `train`."""
    attempts: tuple[AttemptRecord, ...] = ()
    """Its attempts, in their order."""


class RunFiles:
    """The files in the directory of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(written_path(path))
        self.config_file = self.path / "config.yaml"
        self.status_file = self.path / "status.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.tokenizer = self.path / "tokenizer"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.averaged_model = self.path / "model_ema"
        self.evaluation = self.path / "evaluation"
        self.diagnostics = self.path / "diagnostics"
        self.lock_file = self.path / LOCK

    def checkpoint(self, step: int) -> Path:
        """Return the directory of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step-{step:08d}"

    def holds_a_run(self) -> bool:
        """Return True if a run was started here."""
        return self.config_file.exists() or self.status_file.exists()

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
            return _parsed(json.loads(self.status_file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.status_file}: is not a status file ({error}); delete it"
            ) from error

    def measurement(self, name: str) -> dict[str, Any] | None:
        """Read `evaluation/<name>.json`; None where it is missing or damaged."""
        try:
            values = json.loads((self.evaluation / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) else None


def _parsed(raw: dict[str, Any]) -> RunStatus:
    status = RunStatus(**raw)
    facts: Any = status.facts  # plain data until here, as the others
    return replace(
        status,
        best=raw.get("best") and BestEvaluated(**raw["best"]),
        facts=facts and RunFacts(**{**facts, "details": tuple(facts.get("details", ()))}),
        attempts=tuple(AttemptRecord(**each) for each in raw.get("attempts", ())),
    )
