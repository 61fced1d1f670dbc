"""The settings of each tracker; `tracker_secrets` refuses keys and passwords in them."""

from typing import Any

from pydantic import Field

from model_foundry.config.sections import AnyPath, Section


class TensorBoardConfig(Section):
    """TensorBoard: event files, which `tensorboard --logdir` shows."""

    directory: AnyPath | None = None
    """Directory of the event files; None: `tensorboard` in the run directory."""


class MLflowConfig(Section):
    """MLflow: a database or a tracking server."""

    uri: str | None = None
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
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the class in `accelerate.tracking`."""
