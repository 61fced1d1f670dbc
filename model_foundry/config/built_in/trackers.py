"""The built-in trackers, and those that Accelerate knows."""

from model_foundry.config.specs import TrackerSpec
from model_foundry.config.tracker_sections import (
    AccelerateTrackerConfig,
    MLflowConfig,
    TensorBoardConfig,
    TrackioConfig,
    WandbConfig,
)
from model_foundry.registry import Registry


def _of_accelerate(name: str, requirement: str) -> TrackerSpec:
    return TrackerSpec(
        name=name,
        target="model_foundry.training.trackers.accelerate:AccelerateTracker",
        schema=AccelerateTrackerConfig,
        modules=(name,),
        requirement=requirement,
    )


TRACKERS: Registry[TrackerSpec] = Registry(
    "tracker",
    (
        _of_accelerate("aim", "aim"),
        _of_accelerate("clearml", "clearml"),
        _of_accelerate("comet_ml", "comet-ml"),
        _of_accelerate("dvclive", "dvclive"),
        TrackerSpec(
            name="mlflow",
            target="model_foundry.training.trackers.mlflow:MLflowTracker",
            schema=MLflowConfig,
            takes=("texts",),
            modules=("mlflow", "sqlalchemy", "alembic"),
            requirement="model-foundry[mlflow]",
        ),
        _of_accelerate("swanlab", "swanlab"),
        TrackerSpec(
            name="tensorboard",
            target="model_foundry.training.trackers.tensorboard:TensorBoardTracker",
            schema=TensorBoardConfig,
            takes=("histograms", "texts"),
            modules=("tensorboard",),
            requirement="model-foundry[tensorboard]",
        ),
        TrackerSpec(
            name="trackio",
            target="model_foundry.training.trackers.trackio:TrackioTracker",
            schema=TrackioConfig,
            takes=("histograms", "texts"),
            modules=("trackio",),
            requirement="model-foundry[trackio]",
        ),
        TrackerSpec(
            name="wandb",
            target="model_foundry.training.trackers.wandb:WandbTracker",
            schema=WandbConfig,
            takes=("histograms", "texts"),
            modules=("wandb",),
            requirement="model-foundry[wandb]",
        ),
    ),
    entry_points="model_foundry.trackers",
)
