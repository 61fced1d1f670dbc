"""What a run has come to: its final model, its last measurements, and both in one object."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_foundry.architectures import BaseLanguageModel
from model_foundry.attempt import Attempt, measure
from model_foundry.config import ExperimentConfig, LanguageSource
from model_foundry.continuation import Start
from model_foundry.durable import damage
from model_foundry.evaluation.language import LanguageReport, measure_language
from model_foundry.model import load_model
from model_foundry.preparation import Prepared
from model_foundry.processes import Processes
from model_foundry.run_directory import RunDirectory
from model_foundry.signals import during
from model_foundry.training.checkpoint import save_model
from model_foundry.training.identity import Identity

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
    """Whether the tokenizer gives every character back; if not, bits per byte compare nothing."""
    language: LanguageReport | None = None
    """How the model fares on the built-in language; None for another corpus."""


def completed_result(
    config: ExperimentConfig,
    run: RunDirectory,
    prepared: Prepared,
    start: Start,
    identity: Identity,
) -> RunResult | None:
    """Return the result of a run that has nothing left to do; None for any other."""
    if start.checkpoint is None or not start.completed:
        return None
    step = start.checkpoint.step
    measured = run.measurement(f"loss-step-{step:08d}")
    report = run.measurement(f"language-step-{step:08d}")
    measures_language = isinstance(config.data.train, LanguageSource)
    missing = measured is None or (measures_language and report is None)
    if step < identity.horizon or missing or damage(run.model) is not None:
        return None
    logger.info("the run is complete, at step %d; nothing is left to do", step)
    metrics = {name: value for name, value in (measured or {}).items() if name != "lossless"}
    language = LanguageReport.from_json(report) if report else None
    return _result(run, prepared, load_model(run.model), step, metrics, language)


def finish(
    attempt: Attempt,
    model: BaseLanguageModel,
    measured: Mapping[str, float],
    processes: Processes,
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
            seed = config.seeds.split  # all models are measured on the same sentences
            language = measure_language(attempt.trained, prepared.tokenizer, seed=seed)
            run.write_measurement(f"language-step-{step:08d}", language.as_json())
        measurement = metrics | {"lossless": prepared.lossless}
        run.write_measurement(f"loss-step-{step:08d}", measurement)
        return _result(run, prepared, attempt.trained, step, metrics, language)

    with during("the last measurements"):
        processes.from_main(save)
        metrics = {f"eval/{name}": value for name, value in measured.items()}
        if prepared.test is not None:
            tested = measure(config, prepared, prepared.test, model, processes)
            metrics |= {f"test/{name}": value for name, value in tested.items()}
        return processes.from_main(conclude)


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
        language=language,
    )
