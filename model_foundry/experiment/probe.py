"""Probes: the body of a trained model with a new head, trained once for each of several seeds.

Each training is a run of its own below the output directory, so a probe that was interrupted goes
on with the same call.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_foundry.architectures.saving.native_format import LANGUAGE, NOT_RECORDED
from model_foundry.config import (
    ARCHITECTURES,
    OBJECTIVES,
    ExperimentConfig,
    read_saved_config,
    validate,
)
from model_foundry.config.experiment import SET_BY_ONE_SEED
from model_foundry.config.training import schema_of
from model_foundry.errors import ConfigError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from model_foundry.foundation.atomic_files import write_text
from model_foundry.foundation.strict_json import strict_json
from model_foundry.model import find_model, find_tokenizer_of
from model_foundry.objectives.labelled_texts import targets_of
from model_foundry.objectives.majority import majority_figures
from model_foundry.objectives.preparation import prepare
from model_foundry.objectives.processors import TOKENIZER

logger = logging.getLogger(__name__)

FIGURES = ("accuracy", "macro_f1")


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """The figures of a probe on the validation data, after the last step."""

    model: str
    """Directory of the model that gave the body."""
    frozen: bool
    """True if the head alone was trained."""
    seeds: list[int]
    """Seeds of the initial weights of the heads."""
    figures: dict[str, list[float]]
    """`accuracy` and `macro_f1`, a value for each seed; of several labels the latter only."""
    majority: dict[str, float]
    """The same of predicting the most frequent label."""

    def lines(self) -> Iterator[str]:
        """Yield a line for each figure: mean, range and baseline."""
        body = "frozen" if self.frozen else "whole"
        number = f"{len(self.seeds)} seed{'s'[: len(self.seeds) > 1]}"
        yield f"{self.model}: body {body}, {number}"
        for name, values in self.figures.items():
            spread = f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"
            yield f"{name.replace('_', ' '):10}{spread}, majority {self.majority[name]:.4f}"


def probe(
    model: str | Path, config: ExperimentConfig, *, seeds: int = 3, frozen: bool = True
) -> ProbeReport:
    """Train heads for the task of an experiment on the body of a trained model.

    The report is written to `<output_dir>/<frozen or whole>/probe.json`, beside the runs.

    Args:
        model: a run, a checkpoint or a model. Of a run here its architecture replaces that of the
            experiment; its tokenizer always does.
        config: the experiment, whose objective labels texts, words or images.
        seeds: number of trainings, each with the next seed for init, data and dropout.
        frozen: train the head alone; False: the body too.

    Raises:
        ConfigError: the objective has no head whose body can be frozen, or there is no model.
        DataError, CheckpointError, ResumeError, Interrupted, ...: as for `train`.
    """
    directory = find_model(model)
    place = config.output_dir / ("frozen" if frozen else "whole")
    raw = _settings(config, directory, frozen=frozen)
    experiments = [_seeded(raw, config, place, number) for number in range(seeds)]
    prepared = prepare(experiments[0])
    majority = majority_figures(targets_of(prepared.train), targets_of(prepared.validation))
    figures: dict[str, list[float]] = {name: [] for name in majority}
    for number, experiment in enumerate(experiments, 1):
        logger.info("seed %d of %d: %s", number, seeds, experiment.output_dir)
        metrics = train(experiment).metrics
        for name, values in figures.items():
            values.append(_figure(metrics, f"eval/{name}", experiment.output_dir))
    report = ProbeReport(
        model=str(directory),
        frozen=frozen,
        seeds=[experiment.seeds.init for experiment in experiments],
        figures=figures,
        majority=majority,
    )
    write_text(place / "probe.json", strict_json(asdict(report), indent=1) + "\n")
    return report


def _figure(metrics: Mapping[str, float], name: str, run: Path) -> float:
    if name not in metrics:  # a run that was finished before with other metrics
        law = f"{run} holds a run without {name}"
        raise ConfigError(f"output_dir: {law}; set another output_dir, or remove that run")
    return metrics[name]


def _settings(config: ExperimentConfig, directory: Path, *, frozen: bool) -> dict[str, Any]:
    """Return the settings of all runs: those of the task, with the body and its tokenizer."""
    objective = config.training.objective
    schema = schema_of(objective)
    if schema is None or "freeze_body" not in schema.model_fields:
        law = f"{objective!r} gives no labels, so it has no head to probe with"
        remedy = "use sequence_classification, token_classification or image_classification"
        raise ConfigError(f"training.objective: {law}; {remedy}")
    raw = config.model_dump(exclude_unset=True)
    raw["model"] = {**(_model_of_run(directory) or raw["model"]), "init_from": directory}
    if TOKENIZER in OBJECTIVES.load(objective).processor_types:
        raw["tokenizer"] = {"path": find_tokenizer_of(directory)}
    training = raw["training"]
    training[objective] = {**training.get(objective, {}), "freeze_body": frozen}
    several = getattr(config.training.section_of(objective), "multi_label", False)
    named = [*(FIGURES[1:] if several else FIGURES), *config.training.metrics, "loss"]
    training["metrics"] = list(dict.fromkeys(named))
    return raw


def _model_of_run(directory: Path) -> Mapping[str, Any] | None:
    """Return the section `model` of the run of a model, with its positions; None: of no run."""
    files = [RunDirectory(place).config_file for place in list(directory.parents)[:2]]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    config = read_saved_config(file)
    model = config.model.model_dump(exclude_unset=True)
    for name in NOT_RECORDED:  # heads have transformers' body, whichever network wrote the weights
        model.pop(name, None)
    name = str(ARCHITECTURES[config.model.architecture].section)
    reads_text = ARCHITECTURES[config.model.architecture].kind == LANGUAGE
    if reads_text and getattr(config.model.section, "max_position_embeddings", 0) is None:
        model[name]["max_position_embeddings"] = config.data.max_sequence_length
    return model


def _seeded(
    raw: Mapping[str, Any], config: ExperimentConfig, place: Path, number: int
) -> ExperimentConfig:
    """Return the experiment of a seed."""
    seeds = config.seeds.model_dump()
    seeds |= {name: seeds[name] + number for name in SET_BY_ONE_SEED}
    given = {**raw, "seed": seeds, "output_dir": place / f"seed-{seeds['init']}"}
    seeded = validate(given, "probe")
    seeded.keep_origins(config.origins)
    return seeded
