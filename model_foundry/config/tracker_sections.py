"""The settings of each tracker. Keys and passwords come from the environment only."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from model_foundry.config.sections import AnyPath, Section, faults_error

SECRET: Final = re.compile(r"(api_?key|token|secret|password|credential)", re.IGNORECASE)
WITH_PASSWORD: Final = re.compile(r"^[a-z+]+://[^/@]*:[^/@]*@", re.IGNORECASE)


def _without_password(uri: str) -> str:
    if WITH_PASSWORD.match(uri):
        remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
        raise faults_error(("", f"must not hold a password, which would be written; {remedy}"))
    return uri


def _without_secrets(arguments: dict[str, Any]) -> dict[str, Any]:
    for name in arguments:
        if SECRET.search(name):
            law = "looks like a secret, which would be written; set the tracker's variable in the "
            raise faults_error((name, f"{law}environment instead"))
    return arguments


class TensorBoardConfig(Section):
    """TensorBoard: event files, which `tensorboard --logdir` shows."""

    directory: AnyPath | None = None
    """Directory of the event files; None: `tensorboard` in the run directory."""


class MLflowConfig(Section):
    """MLflow: a database or a tracking server."""

    uri: Annotated[str, AfterValidator(_without_password)] | None = None
    """The tracking URI; None: $MLFLOW_TRACKING_URI, else `mlflow.db` beside the run directory."""
    experiment: str | None = None
    """Experiment that groups runs; None: model-foundry."""
    name: str | None = None
    """Name of the run; None: `experiment_name`."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of the run."""


class WandbConfig(Section):
    """Weights & Biases. The key comes from $WANDB_API_KEY."""

    project: str | None = None
    """Project that groups runs; None: $WANDB_PROJECT, else model-foundry."""
    entity: str | None = None
    """User or team; None: the default one of the key."""
    name: str | None = None
    """Name of the run; None: `experiment_name`."""
    group: str | None = None
    """Group of runs within the project; None: none."""
    tags: list[str] = Field(default_factory=list)
    """Tags of the run."""
    directory: AnyPath | None = None
    """Directory of its files, which must exist; None: the run directory."""
    offline: bool | None = None
    """Write files for `wandb sync` instead of sending; None: yes unless $WANDB_API_KEY is set."""


class TrackioConfig(Section):
    """Trackio: a local database, in $TRACKIO_DIR or where trackio keeps its projects."""

    project: str | None = None
    """Project that groups runs; None: model-foundry."""
    name: str | None = None
    """Name of the run; None: `experiment_name`."""
    group: str | None = None
    """Group of runs within the project; None: none."""


class AccelerateTrackerConfig(Section):
    """A tracker that Accelerate knows."""

    project: str | None = None
    """Its `project_name`; None: `experiment_name`."""
    directory: AnyPath | None = None
    """Directory of its files, if it has any; None: the run directory."""
    arguments: Annotated[dict[str, Any], AfterValidator(_without_secrets)] = Field(
        default_factory=dict
    )
    """Further arguments of the class in `accelerate.tracking`."""
