"""The settings of training: objective, optimizer, length, checkpoints, speed, processes."""

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    model_validator,
)

from model_foundry.config.built_in import OBJECTIVES, OPTIMIZERS, SCHEDULES
from model_foundry.config.on_resume import OnResume
from model_foundry.config.registered_sections import OpenSection, defaults_of
from model_foundry.config.sections import PositiveInt, Probability, faults_error
from model_foundry.config.training_sections import (
    DistributedConfig,
    MilestonesConfig,
    SpeedConfig,
)
from model_foundry.errors import ConfigError
from model_foundry.registry import Registry

Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]
WITH_SECTIONS: Final[tuple[Registry[Any], ...]] = (OBJECTIVES, OPTIMIZERS, SCHEDULES)
"""What is registered with settings of its own, which stand in `training` under its name."""


def _each_once(names: list[str]) -> list[str]:
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise faults_error(("", f"must name each once, got {twice[0]!r} twice"))
    return names


Names = Annotated[list[str], AfterValidator(_each_once)]


def _yes_no_or_auto(value: Any) -> Any:
    # Before the union, which would report a line for each of its members.
    if isinstance(value, bool) or value == "auto":
        return value
    raise faults_error(("", f"must be true, false or 'auto', got {value!r}"))


def _at_least_two(limit: int) -> int:
    if limit < 2:
        risk = "a single checkpoint would be at risk while the next one is written and verified"
        raise faults_error(("", f"must be >= 2, got {limit}: {risk}; leave it out to keep all"))
    return limit


def schema_of(name: str) -> type[BaseModel] | None:
    """Return the class of the section `training.<name>`; None: nothing registered has it."""
    specs = (registry.get(name) for registry in WITH_SECTIONS)
    return next((spec.schema for spec in specs if spec is not None and spec.schema), None)


class TrainingConfig(OpenSection):
    """The objective, the optimizer and the schedule of a run. Names follow `TrainingArguments`.

    The settings of a registered objective, optimizer or schedule stand in a section of its name.
    """

    objective: str = "causal_lm"
    """A registered objective, as `foundry list objectives` shows them."""
    losses: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Registered losses with their weights, added up; `model` is the model's own. Left out or
    empty: those of the objective."""
    metrics: Annotated[Names, OnResume.FREE] = Field(default_factory=list)
    """Registered metrics of each evaluation; left out or empty: those of the objective."""
    train_metrics: Annotated[Names, OnResume.LAST_BITS] = Field(default_factory=list)
    """Registered metrics of the training batches between two lines of metrics; those that read
    logits cost time and memory. Left out: none."""
    keys: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Other names of what a loss or metric reads, by its name: `{accuracy: {labels: tags}}`. Left
    out: each reads what it asks for."""
    transforms: list[dict[str, Any]] = Field(default_factory=list)
    """Changes of each record of a batch, in this order: `{name: settings}` of a registered one,
    `{rename: {old: new}}` or `{function: module:name}`. Left out: none."""
    metric_for_best_model: str | None = None
    """Metric that decides which checkpoint is the best; None: the first of `metrics`."""
    mlm_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that a masked objective predicts."""
    mlm_eval_probability: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The same in evaluation: losses of different shares cannot be compared, as a greater one
    leaves less to predict from. None: as in training."""
    mlm_masking: Literal["token", "word", "span"] = "token"
    """Units that a masked objective hides: single tokens, whole words, or spans of words whose
    lengths are geometric (Joshi et al. 2020, arXiv:1907.10529)."""
    mlm_span_length: Annotated[float, Field(ge=1, le=10)] = 3.0
    """Mean words in a span, before spans of more than ten are cut to that."""
    carry_state: bool = False
    """Begin each row with the state that a recurrent model had at the end of the row before it, as
    `data.packing: streams` lines them up."""
    max_steps: Annotated[PositiveInt | None, OnResume.BY_CONTENT] = None
    """Optimizer steps; None: as many as `epochs` need."""
    epochs: Annotated[PositiveInt | None, OnResume.BY_CONTENT] = None
    """Passes over the training blocks; None: as many as `max_steps` needs."""
    per_device_train_batch_size: Annotated[PositiveInt, OnResume.BY_CONTENT, OnResume.LAST_BITS] = (
        32
    )
    """Most blocks in one forward pass on one device. Together with `gradient_accumulation_steps` it
    sets the global batch, which is the same for any number of processes."""
    per_device_eval_batch_size: Annotated[PositiveInt | None, OnResume.LAST_BITS] = None
    """The same in evaluation; None: as in training."""
    gradient_accumulation_steps: Annotated[PositiveInt, OnResume.BY_CONTENT, OnResume.LAST_BITS] = 1
    """Forward passes in one optimizer step of a single process; several divide them up."""
    optimizer: str = "adamw"
    """A registered optimizer: adamw, sgd, adafactor."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate."""
    min_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the last step of a cosine or linear schedule."""
    lr_scheduler_type: str = "cosine"
    """A registered course of the learning rate after the warm-up: cosine, linear, constant."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps in which the learning rate rises linearly to its peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of the matrices; biases and gains are spared. It is decoupled from the gradient
    in AdamW and Adafactor, and added to it in SGD."""
    adam_beta1: Probability = 0.9
    """Decay of AdamW's mean of gradients (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    adam_beta2: Probability = 0.999
    """Decay of AdamW's mean of squared gradients."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Term added to AdamW's denominator."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this global norm; None: they are left as they are."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Number format of the products; the weights stay in fp32. fp16 needs an accelerator; auto:
    bf16 where the machine computes in it, for language models that are wide enough to gain, else
    no."""
    gradient_checkpointing: Annotated[bool, OnResume.LAST_BITS] = False
    """Recompute activations in the backward pass: less memory, more time."""
    attn_implementation: Annotated[Attention, OnResume.LAST_BITS] = "auto"
    """Attention kernel; auto: flash attention where it can run, else torch's own sdpa."""
    compile: Annotated[
        Annotated[bool | Literal["auto"], BeforeValidator(_yes_no_or_auto)], OnResume.LAST_BITS
    ] = "auto"
    """Compile the model with torch.compile; auto: where that was found to pay."""
    speed: SpeedConfig = Field(default_factory=SpeedConfig)
    """Settings that speed up training; left out: all of them."""
    distributed: Annotated[DistributedConfig, OnResume.FREE] = Field(
        default_factory=DistributedConfig
    )
    """Division of the work among processes; left out: ddp."""
    logging_steps: Annotated[PositiveInt, OnResume.FREE] = 10
    """Optimizer steps between two lines of metrics."""
    eval_steps: Annotated[PositiveInt | None, OnResume.FREE] = None
    """Optimizer steps between two evaluations; None: one at the end."""
    save_steps: Annotated[PositiveInt | None, OnResume.FREE] = None
    """Optimizer steps between two checkpoints; None: one at the end."""
    save_minutes: Annotated[Annotated[float, Field(gt=0)] | None, OnResume.FREE] = 15.0
    """Minutes after which a checkpoint is written, if none was; it is deleted once there are two
    newer ones. None: time writes none."""
    save_total_limit: Annotated[
        Annotated[int, Field(lt=2**31), AfterValidator(_at_least_two)] | None, OnResume.FREE
    ] = None
    """Checkpoints to resume from that are kept, the newest and the best among them; milestones do
    not count. None: all."""
    milestones: Annotated[MilestonesConfig, OnResume.FREE] = Field(default_factory=MilestonesConfig)
    """Checkpoints for analysis; left out: none."""
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
