"""MLflow: a database beside the runs, or a tracking server."""

import os
import time
from collections.abc import Mapping
from typing import Any, Final

from model_foundry.foundation.messages import short_repr
from model_foundry.training.sinks import Line, Values
from model_foundry.training.trackers.base import TrackedRun, Tracker, figures_of

PARAMETERS_AT_ONCE: Final = 100  # the API takes no more
STATUS: Final = {"completed": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflowTracker(Tracker):
    """Logs to a run of MLflow, whose id is kept for later attempts.

    The time of a metric is that of its line in the log, so that a line that is logged twice is
    stored once. Steps that are made again are logged again: the latest time of a step holds, as in
    MLflow's own interface.
    """

    def __init__(self, section: Any, run: TrackedRun) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        super().__init__(section, run)
        beside = run.directory.absolute().parent
        uri = section.uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{beside / 'mlflow.db'}")
        # texts beside the default database; a server has a place of its own
        self._artifacts = None if uri else (beside / "mlflow-artifacts").as_uri()
        self._id = run.record.get("run_id") or self._new_run()
        self._client.update_run(self._id, status="RUNNING")

    def _new_run(self) -> str:
        client, name = self._client, self.section.experiment or "model-foundry"
        found = client.get_experiment_by_name(name)
        experiment = (
            client.create_experiment(name, artifact_location=self._artifacts)
            if found is None
            else found.experiment_id
        )
        made = client.create_run(
            experiment, run_name=self.section.name or self.run.name, tags=self.section.tags
        )
        run_id: str = made.info.run_id
        self.run.record.keep(run_id=run_id)
        self._log_parameters(run_id)
        return run_id

    def _log_parameters(self, run_id: str) -> None:
        from mlflow.entities import Param

        settings = self.run.settings.items()
        parameters = [Param(name, _parameter(value)) for name, value in settings]
        for begin in range(0, len(parameters), PARAMETERS_AT_ONCE):
            self._client.log_batch(run_id, params=parameters[begin : begin + PARAMETERS_AT_ONCE])

    def write(self, step: int, values: Values) -> None:
        self.log(Line(step, time.time(), values))

    def log(self, line: Line) -> None:
        from mlflow.entities import Metric

        milliseconds = round(line.time * 1000)
        figures = figures_of(line.values).items()
        metrics = [Metric(name, value, milliseconds, line.step) for name, value in figures]
        self._client.log_batch(self._id, metrics=metrics)

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            self._client.log_text(self._id, text, f"{name}/step-{step:08d}.txt")

    def close(self) -> None:
        self._client.set_terminated(self._id, STATUS.get(self.run.state(), "FAILED"))


def _parameter(value: Any) -> str:
    text = value if isinstance(value, str) else short_repr(value)
    return text[:6000]  # the most that every version stores
