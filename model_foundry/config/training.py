"""The settings of training: objective, optimizer, length, checkpoints, speed, processes."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, model_validator

from model_foundry.config.built_in import METRICS, OBJECTIVES, OPTIMIZERS, SCHEDULES
from model_foundry.config.on_resume import OnResume
from model_foundry.config.registered_sections import OpenSection, defaults_of
from model_foundry.config.sections import faults_error
from model_foundry.config.training_execution import ExecutionSettings
from model_foundry.config.training_optimization import OptimizationSettings
from model_foundry.config.training_records import RecordSettings
from model_foundry.config.training_selection import SelectionSettings
from model_foundry.config.training_task import TaskSettings
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import AVERAGED
from model_foundry.registry import Registry

WITH_SECTIONS: Final[tuple[Registry[Any], ...]] = (OBJECTIVES, OPTIMIZERS, SCHEDULES)
"""What is registered with settings of its own, which stand in `training` under its name."""


def schema_of(name: str) -> type[BaseModel] | None:
    """Return the class of the section `training.<name>`; None: nothing registered has it."""
    specs = (registry.get(name) for registry in WITH_SECTIONS)
    return next((spec.schema for spec in specs if spec is not None and spec.schema), None)


class TrainingConfig(
    RecordSettings,
    SelectionSettings,
    ExecutionSettings,
    OptimizationSettings,
    TaskSettings,
    OpenSection,
):
    """The objective, the optimizer and the schedule of a run. Names follow `TrainingArguments`.

    The settings of a registered objective, optimizer or schedule stand in a section of its name.
    """

    dataloader_num_workers: Annotated[Annotated[int, Field(ge=0)], OnResume.FREE] = 0
    """Processes that prepare batches; 0: the training process does."""

    @property
    def rows_per_step(self) -> int:
        """The global batch: rows of one optimizer step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def eval_batch_size(self) -> int:
        """Blocks in one forward pass of an evaluation."""
        return self.per_device_eval_batch_size or self.per_device_train_batch_size

    @property
    def evaluation_metrics(self) -> tuple[str, ...]:
        """Names of the metrics of each evaluation."""
        return tuple(self.metrics) or OBJECTIVES[self.objective].metrics

    @property
    def best_metric(self) -> str:
        """Name of the metric that decides which checkpoint is the best."""
        return self.metric_for_best_model or self.evaluation_metrics[0]

    def is_greatest_best(self, metric: str) -> bool:
        """Return True if the greatest value of a metric is the best."""
        if self.greater_is_better is not None:
            return self.greater_is_better
        return METRICS[metric.removeprefix(AVERAGED)].greater_is_better

    @classmethod
    def registered_sections(cls) -> dict[str, type[BaseModel]]:
        """Return the sections of objectives, optimizers and schedules."""
        specs = [spec for registry in WITH_SECTIONS for spec in registry.known()]
        return {spec.name: spec.schema for spec in specs if spec.schema is not None}

    def section_of(self, name: str) -> Any:
        """Return the section of a registered thing, or its defaults; None: it has none.

        Raises:
            ConfigError: it was left out, and has settings without a default.
        """
        extra, schema = self.__pydantic_extra__ or {}, schema_of(name)
        if name in extra or schema is None:
            return extra.get(name)
        try:
            return defaults_of(schema)
        except ValueError as error:
            raise ConfigError(f"training.{name}: {error}") from error

    @model_validator(mode="after")
    def _sections_are_of_registered_things(self) -> "TrainingConfig":
        names = (self.objective, self.optimizer, self.lr_scheduler_type)
        specs = [registry.get(name) for registry, name in zip(WITH_SECTIONS, names, strict=True)]
        pending = {name for spec, name in zip(specs, names, strict=True) if spec is None}
        self.parse_sections(schema_of, frozenset(pending))
        extra: Any = self.__pydantic_extra__  # a mapping, as other keys are allowed
        for spec in specs:
            if spec is None or spec.schema is None or spec.name in extra:
                continue
            try:
                extra[spec.name] = defaults_of(spec.schema)
            except ValueError as error:
                raise faults_error((spec.name, str(error))) from error
        return self


def _has_a_free_section(spec: Any) -> None:
    """Refuse a section that would hide a setting or another section."""
    if spec.schema is None:
        return
    others = [other for registry in WITH_SECTIONS for other in registry.known() if other != spec]
    taken = {other.name for other in others if other.schema is not None}
    if spec.name in taken | TrainingConfig.model_fields.keys() or hasattr(
        TrainingConfig, spec.name
    ):
        problem = "which is taken"
    elif "." in spec.name:
        problem = "where a name cannot have a dot"
    else:
        return
    place = f"training.{spec.name}"
    raise TypeError(f"the settings of {spec.name!r} would stand at {place}, {problem}; rename it")


for _registry in WITH_SECTIONS:
    _registry.guard(_has_a_free_section)
