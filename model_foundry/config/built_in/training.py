"""The built-in optimizers and schedules of the learning rate."""

from typing import Final

from model_foundry.config.optimizers import (
    AdadeltaConfig,
    AdagradConfig,
    MuonConfig,
    NAdamConfig,
    RMSpropConfig,
    SGDConfig,
)
from model_foundry.config.schedules import (
    CosineWithRestartsConfig,
    InverseSqrtConfig,
    PlateauConfig,
    PolynomialConfig,
    WarmupStableDecayConfig,
)
from model_foundry.config.specs import OptimizerSpec, ScheduleSpec
from model_foundry.registry import Registry

_OPTIMIZERS: Final = "model_foundry.training.built_in_optimizers"
_SCHEDULES: Final = "model_foundry.training.built_in_schedules"
_DECAY: Final = ("weight_decay",)
_ADAM: Final = (*_DECAY, "adam_beta1", "adam_beta2", "adam_epsilon")
_MINIMUM: Final = ("min_learning_rate",)

OPTIMIZERS: Registry[OptimizerSpec] = Registry(
    "optimizer",
    tuple(
        OptimizerSpec(name=name, target=f"{_OPTIMIZERS}:{name}", schema=schema, settings=settings)
        for name, schema, settings in (
            ("adamw", None, _ADAM),
            ("muon", MuonConfig, _ADAM),
            ("sgd", SGDConfig, _DECAY),
            ("adafactor", None, _DECAY),
            ("adam", None, _ADAM),
            ("adamax", None, _ADAM),
            ("nadam", NAdamConfig, _ADAM),
            ("radam", None, _ADAM),
            ("rmsprop", RMSpropConfig, _DECAY),
            ("adagrad", AdagradConfig, _DECAY),
            ("adadelta", AdadeltaConfig, _DECAY),
        )
    ),
    entry_points="model_foundry.optimizers",
)

SCHEDULES: Registry[ScheduleSpec] = Registry(
    "schedule",
    tuple(
        ScheduleSpec(
            name=name,
            target=f"{_SCHEDULES}:{name}",
            schema=schema,
            settings=settings,
            follows_evaluations=schema is PlateauConfig,
        )
        for name, schema, settings in (
            ("cosine", None, _MINIMUM),
            ("cosine_with_restarts", CosineWithRestartsConfig, _MINIMUM),
            ("linear", None, _MINIMUM),
            ("polynomial", PolynomialConfig, _MINIMUM),
            ("constant", None, ()),
            ("inverse_sqrt", InverseSqrtConfig, _MINIMUM),
            ("warmup_stable_decay", WarmupStableDecayConfig, _MINIMUM),
            ("reduce_lr_on_plateau", PlateauConfig, _MINIMUM),
        )
    ),
    entry_points="model_foundry.schedules",
)
