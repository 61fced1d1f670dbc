"""The section `tracking`: trackers, and what is recorded for them beside the log's figures."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from model_foundry.config.built_in.objectives import OBJECTIVES
from model_foundry.config.built_in.trackers import TRACKERS
from model_foundry.config.registered_sections import OpenSection, defaults_of
from model_foundry.config.sections import PositiveInt, Section
from model_foundry.config.specs import TrackerSpec
from model_foundry.errors import ConfigError


def temperature_fault(temperature: float) -> str | None:
    """Return what is wrong with a temperature of sampling; None: nothing."""
    if temperature == 0 or 0.01 <= temperature <= 100:
        return None
    return f"must be 0, or from 0.01 to 100, got {temperature:g}"


def _sampleable(temperature: float) -> float:
    if fault := temperature_fault(temperature):
        raise PydanticCustomError("temperature", "{fault}", {"fault": fault})
    return temperature


class SamplesConfig(Section):
    """Texts that the model makes at each evaluation."""

    prompts: Annotated[list[str], Field(min_length=1)]
    """Beginnings of texts; for a masked model texts with `[MASK]`, which it fills; for an
    encoder-decoder the texts that it reads."""
    max_new_tokens: PositiveInt = 50
    """Most tokens of each; a masked model makes none."""
    temperature: Annotated[float, AfterValidator(_sampleable)] = 1.0
    """Divides the logits before sampling, from 0.01 to 100; 0 takes the likeliest token."""


def schema_of(name: str) -> type[BaseModel] | None:
    """Return the class of the section `tracking.<name>`; None: no tracker has it."""
    spec = TRACKERS.get(name)
    return None if spec is None else spec.schema


class TrackingConfig(OpenSection):
    """Trackers of figures beside `metrics.jsonl`. The settings of each stand under its name.

    Nothing here changes what is learned.
    """

    trackers: list[str] = Field(default_factory=list)
    """Names of trackers: `foundry list trackers`."""
    histogram_steps: PositiveInt | None = None
    """Optimizer steps between two histograms of each weight and its gradient; None: none."""
    activations: bool = False
    """Measure the activations of each layer in evaluations."""
    samples: SamplesConfig | None = None
    """Texts that the model makes at each evaluation, in `samples.jsonl` too; None: none."""

    @classmethod
    def registered_sections(cls) -> dict[str, type[BaseModel]]:
        """Return the sections of trackers."""
        return {spec.name: spec.schema for spec in TRACKERS.known() if spec.schema is not None}

    def section_of(self, name: str) -> Any:
        """Return the section of a tracker, or its defaults; None: it has none."""
        extra, schema = self.__pydantic_extra__ or {}, schema_of(name)
        return extra.get(name) if name in extra or schema is None else defaults_of(schema)

    @property
    def specs(self) -> list[TrackerSpec]:
        """The specs of the trackers, each once."""
        return [TRACKERS[name] for name in dict.fromkeys(self.trackers)]

    @model_validator(mode="after")
    def _sections_are_of_trackers(self) -> "TrackingConfig":
        # a run whose tracker comes with a plugin can be read without it
        pending = frozenset(name for name in self.trackers if name not in TRACKERS)
        self.parse_sections(schema_of, pending)
        return self


def takes(tracking: TrackingConfig, what: str) -> bool:
    """Return True if one of the trackers keeps `histograms` or `texts`."""
    known = [TRACKERS.get(name) for name in tracking.trackers]
    return any(spec is not None and what in spec.takes for spec in known)


def writes_texts(objective: str) -> bool:
    """Return True if models of an objective continue, fill or write texts."""
    spec = OBJECTIVES.get(objective)
    return spec is not None and spec.model_kind in ("language", "encoder_decoder")


def tracker_faults(tracking: TrackingConfig) -> Iterator[tuple[str, str]]:
    """Yield the faults of trackers that cannot be used here: unknown, or not installed."""
    for number, name in enumerate(tracking.trackers):
        place = f"tracking.trackers.{number}"
        try:
            spec = TRACKERS[name]
        except ConfigError as error:  # unknown, or of a package that cannot be imported
            yield place, str(error)
            continue
        missing = [module for module in spec.modules if find_spec(module) is None]
        if missing:
            lacks = f"{name!r} needs {', '.join(missing)}, which cannot be imported"
            yield place, f"{lacks}; pip install '{spec.requirement}'"
        elif name not in (tracking.model_extra or {}) and spec.schema is not None:
            yield from _missing_settings(name, spec.schema)


def _missing_settings(name: str, schema: type[BaseModel]) -> Iterator[tuple[str, str]]:
    try:
        defaults_of(schema)
    except ValueError as error:
        yield f"tracking.{name}", str(error)
