"""The data of an experiment, as its objective reads them."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from model_foundry.architectures.plugin_check import require_signatures
from model_foundry.config import OBJECTIVES, ExperimentConfig
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.plugins import plugin_errors
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.objectives import LanguageObjective, Objective, Prepared
from model_foundry.objectives.base import Inspection
from model_foundry.objectives.plugin_results import parts_of, require_targets
from model_foundry.objectives.processors import packed, unpacked
from model_foundry.objectives.transform_faults import check_transformed, require_known_tokens
from model_foundry.objectives.transforms import transforms_of, with_transforms


def objective_of(config: ExperimentConfig) -> Objective:
    """Return the objective of an experiment.

    Raises:
        ConfigError: a method of it, or of a loss or metric, takes other arguments than it is given,
            or a transform does.
    """
    objective: Objective = OBJECTIVES.load(config.training.objective)(config)
    for cls in parts_of(objective):
        require_signatures(cls)
    transforms_of(config)
    return objective


def prepare(config: ExperimentConfig, *, kept: Path | None = None) -> Prepared:
    """Read the data of an experiment. Writes to the cache only.

    Args:
        kept: directory with the processors of the run to be resumed; None: the run is new.

    Raises:
        ConfigError: the data cannot meet a setting, or a plugin fails.
        DataError: the data or the tokenizer cannot be used.
        Interrupted: a signal came.
    """
    check_interrupt()  # with everything in the cache, nothing below would check
    with plugin_errors():
        return _checked(objective_of(config).prepare(kept))


def prepare_on_all(
    processes: ProcessGroup, config: ExperimentConfig, *, kept: Path | None = None
) -> Prepared:
    """Read the data on rank 0, then on the others, which load the processors that it has made.

    None is made twice, since `learn` of a task need not give the same result twice.

    Args:
        kept: as for `prepare`.

    Raises:
        ConfigError, DataError, Interrupted: as for `prepare`.
    """
    if kept is not None or OBJECTIVES[config.training.objective].reads_token_stream:
        return processes.rank0_first(prepare, config, kept=kept)  # through the cache
    own: list[Prepared] = []

    def prepare_first() -> dict[str, bytes]:
        own.append(prepare(config))
        return packed(own[0].processors) if processes.world_size > 1 else {}

    files = processes.on_rank0(prepare_first)
    return processes.on_all_ranks(lambda: own[0] if own else _prepare_with(files, config))


def _prepare_with(files: dict[str, bytes], config: ExperimentConfig) -> Prepared:
    with unpacked(files) as place:
        return prepare(config, kept=place if files else None)


def inspect(config: ExperimentConfig) -> Inspection:
    """Check of the data of an experiment what can be checked without training.

    Raises:
        ConfigError, DataError: as for `prepare`.
    """
    with plugin_errors():
        found = objective_of(config).inspect()
        if found.prepared is not None:
            return replace(found, prepared=_checked(found.prepared))
        require_known_tokens(config, lambda: found.model_arguments)
        return found


def _checked(prepared: Prepared) -> Prepared:
    prepared, objective = with_transforms(prepared), prepared.objective
    arguments = partial(objective.model_arguments, prepared.processors)
    require_known_tokens(objective.config, arguments)
    if not isinstance(objective, LanguageObjective):  # which checks its texts itself
        check_transformed(require_targets, prepared)
    return prepared
