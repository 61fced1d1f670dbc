"""The built-in optimizers and schedules of the learning rate."""

from model_foundry.config.optimizers import SGDConfig
from model_foundry.config.specs import OptimizerSpec, ScheduleSpec
from model_foundry.registry import Registry

OPTIMIZERS: Registry[OptimizerSpec] = Registry(
    "optimizer",
    (
        OptimizerSpec(
            name="adamw",
            target="model_foundry.training.optimizer:adamw",
            settings=("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
        ),
        OptimizerSpec(
            name="sgd",
            target="model_foundry.training.optimizer:sgd",
            schema=SGDConfig,
            settings=("weight_decay",),
        ),
        OptimizerSpec(
            name="adafactor",
            target="model_foundry.training.optimizer:adafactor",
            settings=("weight_decay",),
        ),
    ),
    entry_points="model_foundry.optimizers",
)

SCHEDULES: Registry[ScheduleSpec] = Registry(
    "schedule",
    (
        ScheduleSpec(
            name="cosine",
            target="model_foundry.training.lr_schedule:cosine",
            settings=("min_learning_rate",),
        ),
        ScheduleSpec(
            name="linear",
            target="model_foundry.training.lr_schedule:linear",
            settings=("min_learning_rate",),
        ),
        ScheduleSpec(name="constant", target="model_foundry.training.lr_schedule:constant"),
    ),
    entry_points="model_foundry.schedules",
)
