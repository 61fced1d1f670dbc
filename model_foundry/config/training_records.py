"""Settings of training that say what is recorded when: logs, evaluations, checkpoints."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from model_foundry.config.on_resume import OnResume
from model_foundry.config.sections import PositiveInt, Section, faults_error
from model_foundry.config.training_sections import MilestonesConfig


def _at_least_two(limit: int) -> int:
    if limit < 2:
        risk = "a single checkpoint would be at risk while the next one is written and verified"
        raise faults_error(("", f"must be >= 2, got {limit}: {risk}; leave it out to keep all"))
    return limit


class RecordSettings(Section):
    """Lines of metrics, evaluations and checkpoints."""

    logging_steps: Annotated[PositiveInt, OnResume.FREE] = 10
    """Optimizer steps between two lines of metrics."""
    eval_steps: Annotated[PositiveInt | None, OnResume.FREE] = None
    """Optimizer steps between two evaluations; None: one at the end."""
    save_strategy: Annotated[Literal["steps", "no"], OnResume.FREE] = "steps"
    """`steps`: checkpoints as the settings below say, and at an interruption; `no`: none at all, so
    that the same command starts over. The final model is saved in any case."""
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
