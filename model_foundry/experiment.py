"""One experiment from its file to its run directory: the only story that knows every part.

config -> documents -> tokenizer -> token streams -> model -> training loop -> measurements
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from model_foundry.architectures import LOADED_PLUGINS, BaseLanguageModel
from model_foundry.architectures.attention import choose_attention
from model_foundry.config import (
    ARCHITECTURES,
    ExperimentConfig,
    LanguageSource,
    save_config,
    settings_without_effect,
    validate,
)
from model_foundry.data.loaders import Blocks, evaluation_batches, training_batches
from model_foundry.data.sources import read_splits
from model_foundry.errors import ConfigError
from model_foundry.evaluation.language import LanguageReport, measure_language
from model_foundry.evaluation.validation_loss import measure_loss
from model_foundry.model import create_model
from model_foundry.preparation import Prepared, load_named_tokenizer, objective_for, prepare
from model_foundry.reproducibility import seeded
from model_foundry.run_directory import RunDirectory, RunStatus, running
from model_foundry.tokenizer.loading import copy_tokenizer
from model_foundry.tokenizer.tokenizer_factory import check_settings
from model_foundry.training.checkpoint import save_checkpoint, save_model
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.loop import train as run_loop
from model_foundry.training.metrics import MetricsLog
from model_foundry.training.progress import Display
from model_foundry.training.schedule import steps_of_epochs
from model_foundry.training.state import TrainState

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


def train(config: ExperimentConfig, *, fresh: bool = False) -> RunResult:
    """Run an experiment from its corpus to its final model.

    Args:
        fresh: move a run that already lies in the output directory to `<dir>.old-N` first.

    Raises:
        ConfigError: the settings contradict each other or this machine.
        DataError: the corpus or the tokenizer cannot be used; nothing was written.
        ResumeError: the output directory holds a run.
        NonFiniteError: training diverged.
        SaveError: something could not be written.
    """
    config = validate(config.model_dump(exclude_unset=True), "config")  # as assigned by now
    for line in settings_without_effect(config):
        logger.warning("%s", line)
    run = RunDirectory(config.output_dir)
    if not (fresh and run.holds_a_run()):
        run.require_free()
    accelerator = start_accelerator(config.training)
    config, notes = resolve(config, device_type=accelerator.device.type)
    prepared = prepare(config)
    steps = horizon(config, blocks=len(prepared.train))
    model = create_model(config, tokenizer=prepared.tokenizer)
    logger.info("model: %s", _describe(config, model))
    if fresh and (moved := run.move_aside()):
        logger.info("the run that was here is now %s", moved)
    state = TrainState()
    if config.tokenizer.path is not None:
        config.tokenizer.vocab_size = len(prepared.tokenizer)
    with running(run, save_config(config, notes), state):
        copy_tokenizer(prepared.tokenizer_source, run.tokenizer)
        measured = _train(config, run, prepared, model, accelerator, state, steps)
        return _finish(config, run, prepared, model, state, measured)


def check(config: ExperimentConfig) -> list[str]:
    """Check everything that can be checked without training; return what was found, a line each.

    Raises:
        ConfigError: a law is broken, on this machine or anywhere.
        DataError: the corpus or a tokenizer that the experiment names cannot be used.
    """
    start_accelerator(config.training)
    splits = read_splits(config.data, seed=config.seeds.data)
    tokenizer = None
    if config.tokenizer.path is None:
        check_settings(config.tokenizer)
    else:
        tokenizer = load_named_tokenizer(config.tokenizer)
        objective_for(config, tokenizer)
    with torch.device("meta"):
        model = create_model(config, tokenizer=tokenizer)
    size = (
        f"a vocabulary of {len(tokenizer):,}"
        if tokenizer
        else (f"the {config.tokenizer.vocab_size:,} entries that its tokenizer may have at most")
    )
    lines = [f"model: {_describe(config, model)} with {size}"]
    for name in ("train", "validation", "test"):
        documents: list[str] | None = getattr(splits, name)
        if documents is not None:
            characters = sum(map(len, documents))
            lines.append(f"{name}: {len(documents):,} documents, {characters:,} characters")
    return lines


def resolve(config: ExperimentConfig, *, device_type: str) -> tuple[ExperimentConfig, list[str]]:
    """Settle what was left to this machine or to another setting, and say why, a line each."""
    config = config.model_copy(deep=True)
    notes = [f"plugin {path}: sha256 {digest}" for path, digest in LOADED_PLUGINS.items()]
    if "attn_implementation" in ARCHITECTURES[config.model.architecture].settings:
        asked = config.training.attn_implementation
        chosen, reason = choose_attention(
            asked, device_type=device_type, mixed_precision=config.training.mixed_precision
        )
        config.training.attn_implementation = chosen
        notes.append(f"training.attn_implementation: {asked} -> {chosen} ({reason})")
    transformer = config.model.transformer
    if transformer is not None and transformer.max_position_embeddings is None:
        transformer.max_position_embeddings = config.data.max_sequence_length
    for note in notes:
        logger.info("%s", note)
    return config, notes


def horizon(config: ExperimentConfig, *, blocks: int) -> int:
    """Return the optimizer steps of the whole run.

    Raises:
        ConfigError: the warm-up is longer than the epochs.
    """
    training = config.training
    if training.epochs is None:
        assert training.max_steps is not None  # a law of the configuration
        return training.max_steps
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    steps = steps_of_epochs(training.epochs, blocks=blocks, blocks_per_step=per_step)
    if training.warmup_steps > steps:
        raise ConfigError(
            f"training.warmup_steps: must be <= the {steps} steps of {training.epochs} epochs, "
            f"got {training.warmup_steps}"
        )
    return steps


def _describe(config: ExperimentConfig, model: BaseLanguageModel) -> str:
    return f"{config.model.architecture}, {model.get_parameter_count():,} parameters"


def _measure(
    config: ExperimentConfig, prepared: Prepared, split: Blocks, model: BaseLanguageModel
) -> dict[str, float]:
    batches = evaluation_batches(
        split, prepared.collator, batch_size=config.training.eval_batch_size
    )
    return measure_loss(model, batches, prepared.objective)


def _train(
    config: ExperimentConfig,
    run: RunDirectory,
    prepared: Prepared,
    model: BaseLanguageModel,
    accelerator: Accelerator,
    state: TrainState,
    steps: int,
) -> dict[str, float]:
    """Train the model and return what its last evaluation found."""
    training = config.training
    measured: dict[str, float] = {}

    def evaluate(model: BaseLanguageModel) -> Mapping[str, float]:
        measured.update(_measure(config, prepared, prepared.validation, model))
        return measured

    def save(model: BaseLanguageModel, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
        place = run.checkpoint(state.step)
        save_checkpoint(place, model, prepared.tokenizer, optimizer=optimizer, state=state)
        state.last_good_step = state.step
        run.write_status(RunStatus(state="running", step=state.step, last_good_step=state.step))

    batches = training_batches(
        prepared.train,
        prepared.collator,
        micro_batch=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
        seed=config.seeds.data,
        start=state.step,
        workers=training.dataloader_num_workers,
    )
    with seeded(config.seeds.dropout), Display(steps, start=state.step) as display:
        run_loop(
            model,
            batches,
            objective=prepared.objective,
            config=training,
            horizon=steps,
            accelerator=accelerator,
            state=state,
            evaluate=evaluate,
            save=save,
            log=MetricsLog(run.metrics_file),
            display=display,
        )
    return measured


def _finish(
    config: ExperimentConfig,
    run: RunDirectory,
    prepared: Prepared,
    model: BaseLanguageModel,
    state: TrainState,
    measured: Mapping[str, float],
) -> RunResult:
    """Save the final model and take the last measurements of it."""
    save_model(run.model, model, prepared.tokenizer)
    metrics = {f"eval/{name}": value for name, value in measured.items()}
    if prepared.test is not None:
        tested = _measure(config, prepared, prepared.test, model)
        metrics |= {f"test/{name}": value for name, value in tested.items()}
    suffix = f"step-{state.step:08d}"
    run.write_measurement(f"loss-{suffix}", metrics | {"lossless": prepared.lossless})
    language = None
    if isinstance(config.data.train, LanguageSource):
        language = measure_language(model, prepared.tokenizer, seed=config.seeds.data)
        run.write_measurement(f"language-{suffix}", language.as_json())
    return RunResult(
        output_dir=run.path,
        model_dir=run.model,
        step=state.step,
        parameters=model.get_parameter_count(),
        vocab_size=len(prepared.tokenizer),
        generates=model.supports_generation,
        mask_token=prepared.tokenizer.mask_token,
        metrics=metrics,
        lossless=prepared.lossless,
        language=language,
    )
