"""Directories of runs as training leaves them, written without training."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import exp
from pathlib import Path
from typing import Any

from model_foundry.config import save_config
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.atomic_files import write_text
from model_foundry.foundation.strict_json import strict_json
from model_foundry.run_reports.run_files import AttemptRecord, BestEvaluated, RunFacts, RunStatus
from tests.experiments import tiny_experiment

BEGUN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC).timestamp()
Line = dict[str, Any]


def moment(seconds: float) -> str:
    """Return a time after the begin of the runs, as a status has it."""
    return datetime.fromtimestamp(BEGUN + seconds, UTC).isoformat(timespec="seconds")


def log_lines(steps: int = 40, *, attempt: int = 1, after: int = 0, every: int = 5) -> list[Line]:
    """Return lines of a log: training at each `every`-th step, and evaluations half as often."""
    lines: list[Line] = []
    for step in range(after + every, steps + 1, every):
        head = {"step": step, "attempt": attempt, "time": BEGUN + step + 100 * (attempt - 1)}
        loss = 2 + 3 * exp(-step / 20)
        figures = {
            "train/loss": loss,
            "train/learning_rate": 1e-3,
            "train/grad_norm": 0.5,
            "train/tokens_seen": step * 64,
            "train/words_seen": step * 48,
            "train/tokens_per_second": 1234.5,
            "train/batch_digest": "f00d",
        }
        lines.append(head | figures)
        if step % (2 * every) == 0:
            lines.append(head | {"eval/loss": loss + 0.1, "eval/perplexity": exp(loss + 0.1)})
    return lines


def write_run(
    directory: Path,
    *overrides: str,
    kind: str = "gpt2",
    state: Any = "completed",
    lines: Sequence[Line] | None = None,
    attempts: Sequence[tuple[float, int, float | None]] = ((0, 0, None),),
) -> RunDirectory:
    """Write a run into a directory and return it; it has made 40 steps of 40.

    Args:
        overrides: settings to change, as on the command line.
        attempts: seconds of the start, first step, and seconds of the end of each.
    """
    run = RunDirectory(directory)
    directory.mkdir(parents=True)
    config = tiny_experiment(kind, directory.parent, "training.max_steps=40", *overrides)
    write_text(run.config_file, save_config(config))
    lines = log_lines() if lines is None else lines
    run.metrics_file.write_text("".join(strict_json(line) + "\n" for line in lines))
    evaluated = [line for line in lines if "eval/loss" in line]
    best = min(evaluated, key=lambda line: line["eval/loss"], default=None)
    run.write_status(
        RunStatus(
            state=state,
            step=lines[-1]["step"] if lines else 0,
            best=best and BestEvaluated(metric="loss", value=best["eval/loss"], step=best["step"]),
            reason=None if state in ("running", "completed") else "SIGTERM: saved at step 40",
            attempt=len(attempts),
            run_id="0123",
            facts=RunFacts(
                name=config.experiment_name,
                architecture=config.model.architecture,
                total_steps=40,
                parameters=1234,
                details=("tokens",),
            ),
            attempts=tuple(
                AttemptRecord(
                    started=moment(start), step=step, ended=None if end is None else moment(end)
                )
                for start, step, end in attempts
            ),
        )
    )
    set_status(run, time=moment(45), pid=2**22 + 1)  # larger than any process id
    return run


def set_status(run: RunDirectory, **changed: Any) -> None:
    """Change entries of a status in place."""
    status = json.loads(run.status_file.read_text())
    write_text(run.status_file, json.dumps(status | changed))
