"""What a run has come to: its final model, its last measurements, and both in one object."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_foundry.architectures import BaseLanguageModel
from model_foundry.architectures.compilation import compilation_disabled
from model_foundry.config import ExperimentConfig, LanguageSource
from model_foundry.evaluation.comparability import not_comparable
from model_foundry.evaluation.synthetic_language import LanguageReport, measure_language
from model_foundry.experiment.attempt import Attempt, measure
from model_foundry.experiment.prepare_data import Prepared
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.atomic_files import find_damage
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.model import load_model
from model_foundry.objectives import CausalLM
from model_foundry.training.checkpoint.save_load import save_model
from model_foundry.training.run_fingerprint import RunFingerprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a finished run has come to."""

    output_dir: Path
    """The run directory."""
    model_dir: Path
    """The final model, as `transformers` loads it."""
    step: int
    """Optimizer steps made."""
    parameters: int
    """Parameters of the model; tied ones count once."""
    vocab_size: int
    """Rows of the embedding matrix."""
    generates: bool
    """Whether the model continues text; otherwise it fills masks."""
    mask_token: str | None
    """The text of the tokenizer's mask token; None: it has none."""
    metrics: dict[str, float]
    """`eval/...` on the validation text, and `test/...` where a test text was given."""
    lossless: bool
    """Whether the tokenizer gives every character of the validation text back."""
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    """Why the bits per byte of a text, `eval` or `test`, compare nothing across tokenizers; those
    of texts that are not named can be compared."""
    language: LanguageReport | None = None
    """How the model fares on the built-in language; None for another corpus."""


def completed_result(
    config: ExperimentConfig,
    run: RunDirectory,
    prepared: Prepared,
    start: ResumePoint,
    identity: RunFingerprint,
) -> RunResult | None:
    """Return the result of a run that has nothing left to do; None for any other."""
    if start.checkpoint is None or not start.completed:
        return None
    step = start.checkpoint.step
    measured = run.measurement(f"loss-step-{step:08d}")
    report = run.measurement(f"language-step-{step:08d}")
    measures_language = isinstance(config.data.train, LanguageSource)
    missing = measured is None or (measures_language and report is None)
    if step < identity.horizon or missing or find_damage(run.model) is not None:
        return None
    logger.info("the run is complete, at step %d; nothing is left to do", step)
    # what is null was not finite; what is no figure follows from the texts
    metrics = {
        name: math.nan if value is None else value
        for name, value in (measured or {}).items()
        if not isinstance(value, bool | str)
    }
    language = LanguageReport.from_json(report) if report else None
    return _result(run, prepared, load_model(run.model), step, metrics, language)


def finish(
    attempt: Attempt,
    model: BaseLanguageModel,
    measured: Mapping[str, float],
    processes: ProcessGroup,
) -> RunResult:
    """Save the final model and take the last measurements of it."""
    config, run, prepared = attempt.config, attempt.run, attempt.prepared
    step = attempt.state.step

    def save() -> None:
        run.require_held()
        save_model(run.model, attempt.trained, prepared.tokenizer)

    def conclude() -> RunResult:
        language = None
        if isinstance(config.data.train, LanguageSource):
            language = measure_language(
                attempt.trained,
                prepared.tokenizer,
                seed=config.seeds.split,  # all models are measured on the same sentences
                bounded=is_bounded(config, prepared),
            )
            _warn_below_floor(metrics, language)
            run.write_measurement(f"language-step-{step:08d}", language.as_json())
        reasons = reasons_against_comparison(prepared)
        marks = {f"{split}/not_comparable": reason for split, reason in reasons.items()}
        measurement = metrics | marks | {"lossless": prepared.lossless}
        run.write_measurement(f"loss-step-{step:08d}", measurement)
        return _result(run, prepared, attempt.trained, step, metrics, language)

    with blocking_section("the last measurements"), compilation_disabled(model):
        processes.on_rank0(save)
        metrics = {f"eval/{name}": value for name, value in measured.items()}
        if prepared.test is not None:
            tested = measure(config, prepared, prepared.test, model, processes)
            metrics |= {f"test/{name}": value for name, value in tested.items()}
        return processes.on_rank0(conclude)


def is_bounded(config: ExperimentConfig, prepared: Prepared) -> bool:
    """Tell whether the entropy of the built-in language bounds the bits per byte on validation.

    It does where each token of sentences of the language, as they are, is predicted from those
    before it. A masked token is given those behind it too, an intervention makes another language,
    and unknown tokens cost next to nothing.
    """
    data = config.data
    from_the_language = isinstance(data.validation or data.train, LanguageSource)
    changed = any("validation" in step.splits for step in data.interventions)
    known = not_comparable(prepared.validation) is None
    return type(prepared.objective) is CausalLM and from_the_language and not changed and known


def _warn_below_floor(metrics: Mapping[str, float], report: LanguageReport) -> None:
    floor, interval = report.floor_bits_per_byte, metrics.get("eval/bits_per_byte_interval")
    if floor is None or interval is None or metrics["eval/bits_per_byte"] + interval >= floor:
        return
    logger.warning(
        "the validation loss of %.4f bits per byte (95%% interval: +-%.4f) is below %.4f, the "
        "entropy of the language, which no model that predicts each token from those before it "
        "can beat: the model reads what it is to predict, or its validation text was trained on",
        *(metrics["eval/bits_per_byte"], interval, floor),
    )


def reasons_against_comparison(prepared: Prepared) -> dict[str, str]:
    """Return why the bits per byte of a text compare nothing across tokenizers, where they do."""
    texts = {"eval": prepared.validation, "test": prepared.test}
    reasons = {name: not_comparable(text) for name, text in texts.items() if text is not None}
    return {name: reason for name, reason in reasons.items() if reason}


def _result(
    run: RunDirectory,
    prepared: Prepared,
    model: BaseLanguageModel,
    step: int,
    metrics: dict[str, float],
    language: LanguageReport | None,
) -> RunResult:
    return RunResult(
        output_dir=run.path,
        model_dir=run.model,
        step=step,
        parameters=model.get_parameter_count(),
        vocab_size=len(prepared.tokenizer),
        generates=model.supports_generation,
        mask_token=prepared.tokenizer.mask_token,
        metrics=metrics,
        lossless=prepared.lossless,
        not_comparable=reasons_against_comparison(prepared),
        language=language,
    )
