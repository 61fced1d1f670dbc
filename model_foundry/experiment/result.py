"""The result of a run: its final model and its last measurements."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from model_foundry.architectures import BaseLanguageModel, BaseModel
from model_foundry.architectures.compilation import compilation_disabled
from model_foundry.architectures.saving.native_format import LANGUAGE
from model_foundry.config import ExperimentConfig, LanguageSource
from model_foundry.evaluation.synthetic_language import LanguageReport, measure_language
from model_foundry.experiment.attempt import Attempt
from model_foundry.experiment.best_model import final_step, load_final_weights
from model_foundry.experiment.limits import limited_splits, minimal_pairs_of, trained_examples
from model_foundry.experiment.overfit_check import check_overfit
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import BestEvaluated, RunDirectory
from model_foundry.foundation.atomic_files import find_damage
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.model import load_model
from model_foundry.objectives import CausalLM, LanguageObjective, Prepared
from model_foundry.training.checkpoint.choice import Checkpoint
from model_foundry.training.checkpoint.save_load import save_model
from model_foundry.training.learner import learns_by_counting
from model_foundry.training.run_fingerprint import RunFingerprint

logger = logging.getLogger(__name__)

MODEL_STEP = "model_step"  # in the file of the last measurements
OF_EARLY_STOPPING = ("early_stopping_patience", "early_stopping_threshold", "min_epochs")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The final model of a finished run, and its figures."""

    output_dir: Path
    """The run directory."""
    model_dir: Path
    """The final model, as `transformers` loads it."""
    step: int
    """Optimizer steps made."""
    parameters: int
    """Parameters of the model; tied ones count once."""
    metrics: dict[str, float]
    """`eval/...` on the validation data, and `test/...` where test data were given."""
    best: BestEvaluated | None = None
    """The best evaluation of the run; None: `best_metric` was never finite."""
    best_metric: str | None = None
    """The metric that decides which evaluation is the best."""
    loss_unit: str | None = None
    """Unit of the loss; None: it has none, as a weighted sum of several losses."""
    vocab_size: int | None = None
    """Rows of the embedding matrix; None, as below: the task trains no language model."""
    generates: bool | None = None
    """True if the model continues text; False if it fills masks."""
    mask_token: str | None = None
    """The text of the tokenizer's mask token; None: it has none."""
    lossless: bool | None = None
    """True if the tokenizer restores every character of the validation text."""
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    """Reason why the bits per byte of a text (`eval`, `test`) cannot be compared across tokenizers;
    those of other texts can."""
    limited: Mapping[str, str] = field(default_factory=dict)
    """What was read of a split (`train`, `eval`, `test`) that a limit of `debug` cuts, in words."""
    next_command: str | None = None
    """A command for a shell that tries the model; None: there is none."""
    model_step: int | None = None
    """Step whose weights the model has, if it is not the last one; None: it is."""
    averaged_model_dir: Path | None = None
    """The model with the average of the weights; None: there is none."""
    stopped: str | None = None
    """Reason why the run ended before its last step; None: it did not."""
    language: LanguageReport | None = None
    """Figures on the built-in language; None for another corpus."""


def completed_result(
    config: ExperimentConfig,
    run: RunDirectory,
    prepared: Prepared,
    start: ResumePoint,
    fingerprint: RunFingerprint,
) -> RunResult | None:
    """Return the result of a run that is complete; None for any other."""
    if start.checkpoint is None or not start.completed:
        return None
    step, status = start.checkpoint.step, run.status()
    measured = run.measurement(f"loss-step-{step:08d}")
    report = run.measurement(f"language-step-{step:08d}")
    missing = measured is None or (_measures_language(prepared) and report is None)
    best = None if status is None else run.located(status.best)
    wanted = final_step(best, step, load_best=config.training.load_best_model_at_end)
    model_step = (measured or {}).get(MODEL_STEP)
    if missing or wanted != (model_step or step) or not _has_ended(start.checkpoint, fingerprint):
        return None
    if any(find_damage(place) is not None for place in _models(config, run)):
        return None
    logger.info("the run is complete, at step %d; there is nothing left to do", step)
    # null stands for a figure that was not finite; other values follow from the texts
    metrics = {
        name: math.nan if value is None else value
        for name, value in (measured or {}).items()
        if name != MODEL_STEP and not isinstance(value, bool | str)
    }
    language = LanguageReport.from_json(report) if report else None
    model = load_model(run.model)
    facts = prepared.objective.result_facts(prepared, model, run.path)
    facts |= {"best": best, "metrics": metrics, "language": language, "model_step": model_step}
    facts |= {"limited": limited_splits(config, prepared)}
    if step < fingerprint.total_steps and status is not None:
        facts["stopped"] = status.reason
    return _result(run, prepared, model, step=step, **facts)


def _has_ended(last: Checkpoint, now: RunFingerprint) -> bool:
    """Return True if a completed run has nothing more to do: it has made its last step, or has
    stopped early under the present settings."""
    if last.step >= now.total_steps:
        return True
    before, after = (each.config["training"] for each in (last.state.identity, now))
    same = all(before.get(name) == after.get(name) for name in OF_EARLY_STOPPING)
    return same and last.state.identity.total_steps == now.total_steps


def _models(config: ExperimentConfig, run: RunDirectory) -> list[Path]:
    averaged = config.training.ema_decay is not None and not learns_by_counting(config)
    return [run.model, *([run.averaged_model] if averaged else [])]


def finish(attempt: Attempt, model: BaseModel) -> RunResult:
    """Save the final model, evaluate it, and return the result, on all processes."""
    context, prepared = attempt.context, attempt.prepared
    processes = context.processes
    with blocking_section("the last measurements"), compilation_disabled(model):
        step = processes.on_all_ranks(load_final_weights, attempt, model)
        measured = attempt.measured
        if step != context.state.step:
            measured = attempt.measure("validation", model)
        processes.on_rank0(_save_final_models, attempt)
        metrics = {f"eval/{name}": value for name, value in measured.items()}
        if prepared.test is not None:
            tested = attempt.measure("test", model)
            metrics |= (named := {f"test/{name}": value for name, value in tested.items()})
            processes.on_rank0(attempt.log.write, context.state.step, named)
        return processes.on_rank0(_conclude, attempt, metrics, step)


def _save_final_models(attempt: Attempt) -> None:
    run, processors = attempt.run, attempt.prepared.processors
    run.require_held()
    save_model(run.model, attempt.trained, processors)
    if attempt.average is not None:
        with attempt.average.in_place():
            save_model(run.averaged_model, attempt.trained, processors)


def _conclude(attempt: Attempt, metrics: dict[str, float], model_step: int) -> RunResult:
    """Measure the model on the built-in language, write all figures, and return the result."""
    config, run, prepared = attempt.context.config, attempt.run, attempt.prepared
    step, language = attempt.context.state.step, None
    if _measures_language(prepared):
        language = measure_language(
            cast(BaseLanguageModel, attempt.trained),
            prepared.tokenizer,
            seed=config.seeds.split,  # all models are measured on the same sentences
            bounded=is_bounded(config, prepared),
            pairs=minimal_pairs_of(config),
        )
        _warn_below_floor(metrics, language)
        run.write_measurement(f"language-step-{step:08d}", language.as_json())
    facts = prepared.objective.result_facts(prepared, attempt.trained, run.path)
    facts |= {"limited": limited_splits(config, prepared)}
    other = {} if model_step == step else {MODEL_STEP: model_step}
    run.write_measurement(f"loss-step-{step:08d}", metrics | _marks(facts) | other)
    check_overfit(config, run.metrics_file, steps=step, steps_per_pass=_steps_per_pass(attempt))
    facts |= {"best": run.located(attempt.context.state.best), "metrics": metrics, **other}
    facts["stopped"] = attempt.context.state.stop_reason
    return _result(run, prepared, attempt.trained, step=step, language=language, **facts)


def _steps_per_pass(attempt: Attempt) -> int:
    config, prepared = attempt.context.config, attempt.prepared
    return math.ceil(len(trained_examples(config, prepared)) / config.training.rows_per_step)


def _measures_language(prepared: Prepared) -> bool:
    """Return True for a language model of the built-in language."""
    objective = prepared.objective
    from_the_language = isinstance(objective.config.data.train, LanguageSource)
    is_of_text = isinstance(objective, LanguageObjective)
    return from_the_language and is_of_text and objective.spec.model_kind == LANGUAGE


def is_bounded(config: ExperimentConfig, prepared: Prepared) -> bool:
    """Return True if the entropy of the built-in language bounds the bits per byte on validation.

    It does if each token of unchanged sentences of the language is predicted from those before it.
    A masked token also has those after it, an intervention makes another language, and unknown
    tokens cost next to nothing.
    """
    data, objective = config.data, prepared.objective
    if type(objective) is not CausalLM:
        return False
    from_the_language = isinstance(data.validation or data.train, LanguageSource)
    changed = any("validation" in step.splits for step in data.interventions)
    known = not objective.not_comparable(prepared).get("eval")
    return from_the_language and not changed and known


def _warn_below_floor(metrics: Mapping[str, float], report: LanguageReport) -> None:
    floor, interval = report.floor_bits_per_byte, metrics.get("eval/bits_per_byte_interval")
    if floor is None or interval is None or metrics["eval/bits_per_byte"] + interval >= floor:
        return
    logger.warning(
        "the validation loss of %.4f bits per byte (95%% interval: +-%.4f) is below %.4f, the "
        "entropy of the language, which no causal model can beat: the model sees its targets, or "
        "was trained on the validation text",
        *(metrics["eval/bits_per_byte"], interval, floor),
    )


def _marks(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written beside the figures of a measurement."""
    reasons = facts.get("not_comparable", {})
    marks = {f"{split}/not_comparable": reason for split, reason in reasons.items()}
    marks |= {f"{split}/limited": read for split, read in facts.get("limited", {}).items()}
    return marks | {name: facts[name] for name in ("lossless",) if name in facts}


def _result(run: RunDirectory, prepared: Prepared, model: BaseModel, **figures: Any) -> RunResult:
    return RunResult(
        output_dir=run.path,
        model_dir=run.model,
        averaged_model_dir=run.averaged_model if run.averaged_model.is_dir() else None,
        parameters=model.get_parameter_count(),
        best_metric=prepared.objective.best_metric[0],
        **figures,
    )
