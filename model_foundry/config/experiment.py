"""The whole experiment: all sections together."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, PrivateAttr, Tag, model_validator
from pydantic_core import PydanticCustomError

from model_foundry.config.cross_checks import find_faults
from model_foundry.config.data import DataConfig
from model_foundry.config.debug import DebugConfig
from model_foundry.config.fields import flat, leaves
from model_foundry.config.model import ModelConfig
from model_foundry.config.on_resume import OnResume
from model_foundry.config.origins import Origin, Origins
from model_foundry.config.sections import AnyPath, Section, Seed, TokenizerConfig, faults_error
from model_foundry.config.tracking import TrackingConfig
from model_foundry.config.training import TrainingConfig
from model_foundry.config.unexpanded import unexpanded

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Seeds(Section):
    """One seed for each source of randomness, so that a study can vary one and hold the others."""

    split: Seed = 42
    """Texts and measurements, which one seed for all leaves alone: train/validation split, draw of
    a budget or mixture, and with them the tokenizer; masks and sentences of evaluations."""
    init: Seed = 42
    """Initial weights."""
    data: Seed = 42
    """Order of the blocks, masks of the training."""
    dropout: Seed = 42
    """Dropout."""


SET_BY_ONE_SEED = ("init", "data", "dropout")


def _is_run_name(name: str) -> str:
    if not RUN_NAME.fullmatch(name):
        law = "must be up to 100 letters, digits, '.', '_' or '-', and begin with a letter or digit"
        raise PydanticCustomError("run_name", law)
    return name


def _seed_kind(value: Any) -> str:
    return "each" if isinstance(value, dict | Seeds) else "all"


class ExperimentConfig(Section):
    """One experiment, as one YAML file states it."""

    experiment_name: Annotated[str, AfterValidator(_is_run_name), OnResume.FREE]
    """Letters, digits, '.', '_' and '-'; names the run."""
    seed: Annotated[
        Annotated[Seed, Tag("all")] | Annotated[Seeds, Tag("each")], Discriminator(_seed_kind)
    ] = 42
    """One seed for init, data and dropout, or {split: ..., init: ..., data: ..., dropout: ...}."""
    output_dir: Annotated[AnyPath, OnResume.FREE] = Field(
        default_factory=lambda data: Path("runs") / data["experiment_name"]
    )
    """Run directory; left out: runs/<experiment_name>."""
    data: DataConfig
    """Text sources, and the cutting into rows."""
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    """Trained or loaded; left out: a sentencepiece tokenizer is trained."""
    model: ModelConfig
    """The architecture and its size."""
    training: TrainingConfig
    """The objective, the optimizer and the length of the run."""
    tracking: Annotated[TrackingConfig, OnResume.FREE] = Field(default_factory=TrackingConfig)
    """Trackers, and what is recorded for them; left out: none."""
    debug: DebugConfig = Field(default_factory=DebugConfig)
    """Limits, checks and profiles for finding a fault; left out: none."""
    _origins: Origins = PrivateAttr(default_factory=Origins)

    @property
    def origins(self) -> Origins:
        """The origins of its values; empty for an experiment that was made in Python."""
        return self._origins

    def keep_origins(self, origins: Origins) -> None:
        """Keep these origins beside the values as they are now, or as they were loaded before."""
        plain = self.model_dump(mode="json")
        if not origins.loaded:
            values, given = dict(leaves(plain)), origins.environment.items()
            environment = {n: replace(e, value=values[n]) for n, e in given if n in values}
            origins = replace(origins, loaded=dict(flat(plain)), environment=environment)
        self._origins = origins

    def with_origins(self) -> Iterator[tuple[str, Any, Origin]]:
        """Yield (dotted name, value, origin) of each setting, as plain data; a list is one."""
        return self._origins.of_values(self.model_dump(mode="json"))

    def recorded(self, **options: Any) -> dict[str, Any]:
        """Return the settings as plain data that may be written: free text that came from the
        environment stays the expression that it was given by.

        Args:
            **options: as of `unexpanded`.
        """
        plain = self.model_dump(mode="json")
        record: dict[str, Any] = unexpanded(plain, self._origins.environment, **options)
        return record

    @property
    def seeds(self) -> Seeds:
        """The seeds, one for each source of randomness."""
        if isinstance(self.seed, Seeds):
            return self.seed
        return Seeds(**dict.fromkeys(SET_BY_ONE_SEED, self.seed))

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "ExperimentConfig":
        faults = find_faults(self)
        if faults:
            raise faults_error(*faults)
        return self
