"""One experiment from its file to its run directory: the only story that knows every part.

config -> documents -> tokenizer -> token streams -> model -> training loop -> measurements
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.architectures.attention import choose_attention
from model_foundry.config import (
    ARCHITECTURES,
    OBJECTIVES,
    ExperimentConfig,
    LanguageSource,
    TokenizerConfig,
    save_config,
    settings_without_effect,
    validate,
)
from model_foundry.data.encoding import is_lossless
from model_foundry.data.loaders import Blocks, evaluation_batches, training_batches
from model_foundry.data.packing import stream_of
from model_foundry.data.sources import Splits, read_splits
from model_foundry.errors import ConfigError, DataError
from model_foundry.evaluation.language import LanguageReport, measure_language
from model_foundry.evaluation.validation_loss import measure_loss
from model_foundry.model import create_model
from model_foundry.objectives import Objective
from model_foundry.run_directory import RunDirectory, running
from model_foundry.tokenizer.factory import load_tokenizer
from model_foundry.tokenizer.train_tokenizer import copy_tokenizer, train_in_cache
from model_foundry.training.checkpoint import save_checkpoint, save_model
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.loop import train as run_loop
from model_foundry.training.metrics import MetricsLog
from model_foundry.training.progress import Display
from model_foundry.training.schedule import steps_of_epochs
from model_foundry.training.state import TrainState

logger = logging.getLogger(__name__)

LOSSLESS_SAMPLE = 200  # documents that are decoded again to see whether the tokenizer loses text


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
    metrics: dict[str, float]
    """`eval/...` on the validation text, and `test/...` where a test text was given."""
    lossless: bool
    """Whether the tokenizer gives every character back; if not, bits per byte compare nothing."""
    language: LanguageReport | None = None
    """How the model fares on the built-in language; None for another corpus."""


@dataclass(frozen=True)
class Prepared:
    """Everything that training reads."""

    tokenizer: PreTrainedTokenizerBase
    tokenizer_dir: Path
    objective: Objective
    train: Blocks
    validation: Blocks
    test: Blocks | None
    lossless: bool


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
    config = validate(config.model_dump(), "config")  # assignments may have broken a law
    for line in settings_without_effect(config):
        logger.warning("%s", line)
    run = RunDirectory(config.output_dir)
    if not fresh:
        run.require_free()
    accelerator = start_accelerator(config.training)
    config, notes = resolve(config, device_type=accelerator.device.type)
    prepared = prepare(config)
    model = create_model(config, tokenizer=prepared.tokenizer)
    model.to(accelerator.device)
    logger.info("%s with %s parameters", config.model.architecture, f"{model.get_parameter_count():,}")
    if fresh and (moved := run.move_aside()):
        logger.info("the run that was here is now %s", moved)
    state = TrainState()
    with running(run, save_config(config, notes), state):
        copy_tokenizer(prepared.tokenizer_dir, run.tokenizer)
        return _run(config, run, prepared, model, accelerator, state)


def check(config: ExperimentConfig) -> list[str]:
    """Check everything that can be checked without training, and return what was found, a line each.

    Raises:
        ConfigError: a law is broken, on this machine or anywhere.
        DataError: the corpus or a tokenizer that the experiment names cannot be used.
    """
    splits = read_splits(config.data, seed=config.seeds.data)
    start_accelerator(config.training)
    tokenizer = load_named_tokenizer(config.tokenizer) if config.tokenizer.path else None
    if tokenizer is not None:
        objective: Objective = OBJECTIVES.load(config.training.objective)()
        objective.collator(config, tokenizer)
    with torch.device("meta"):
        model = create_model(config, tokenizer=tokenizer)
    vocab_size = model.get_input_embeddings().weight.shape[0]
    characters = sum(map(len, splits.train))
    return [
        f"model: {config.model.architecture}, {model.get_parameter_count():,} parameters with a "
        f"vocabulary of {vocab_size:,}",
        f"train: {len(splits.train):,} documents, {characters:,} characters",
        f"validation: {len(splits.validation):,} documents",
    ]


def resolve(config: ExperimentConfig, *, device_type: str) -> tuple[ExperimentConfig, list[str]]:
    """Settle what was left to this machine or to another setting, and say why, a line each."""
    config = config.model_copy(deep=True)
    notes = []
    if "attn_implementation" in ARCHITECTURES[config.model.architecture].settings:
        asked = config.training.attn_implementation
        chosen, reason = choose_attention(
            asked, device_type=device_type, mixed_precision=config.training.mixed_precision
        )
        config.training.attn_implementation = chosen
        notes.append(f"training.attn_implementation: {asked} -> {chosen} ({reason})")
    for note in notes:
        logger.info("%s", note)
    transformer = config.model.transformer
    if transformer is not None and transformer.max_position_embeddings is None:
        transformer.max_position_embeddings = config.data.max_sequence_length
    return config, notes


def prepare(config: ExperimentConfig) -> Prepared:
    """Read, tokenise and cut the corpus of an experiment. Writes to the cache only.

    Raises:
        DataError: the corpus or the tokenizer cannot be used.
    """
    splits = read_splits(config.data, seed=config.seeds.data)
    tokenizer, tokenizer_dir = obtain_tokenizer(config, splits.train)
    objective: Objective = OBJECTIVES.load(config.training.objective)()
    objective.collator(config, tokenizer)  # refuses a tokenizer that lacks a token
    content = content_of_a_block(config)
    blocks = partial(_blocks, config, tokenizer, objective.frame(tokenizer), content)
    prepared = Prepared(
        tokenizer=tokenizer,
        tokenizer_dir=tokenizer_dir,
        objective=objective,
        train=blocks(splits.train, keep_rest=False),
        validation=blocks(splits.validation, keep_rest=True),
        test=blocks(splits.test, keep_rest=True) if splits.test else None,
        lossless=is_lossless(tokenizer, splits.validation[:LOSSLESS_SAMPLE]),
    )
    _require_blocks(config, prepared)
    _describe(splits, prepared)
    return prepared


def content_of_a_block(config: ExperimentConfig) -> int:
    """Return how many tokens of text one block holds."""
    framing = OBJECTIVES[config.training.objective].framing_tokens
    return config.data.content_tokens or config.data.max_sequence_length - framing


def obtain_tokenizer(
    config: ExperimentConfig, documents: list[str]
) -> tuple[PreTrainedTokenizerBase, Path]:
    """Load the tokenizer that an experiment names, or train it (once: the result is cached).

    Returns:
        The tokenizer, and a directory that holds it.

    Raises:
        DataError: it cannot be loaded or trained, or does not fit the model.
    """
    settings, cache = config.tokenizer, config.data.cache
    if settings.path is None:
        directory = train_in_cache(settings, documents, cache=cache)
        return load_tokenizer(directory), directory
    return load_named_tokenizer(settings), Path(settings.path)


def load_named_tokenizer(settings: TokenizerConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer that `settings.path` names.

    Raises:
        DataError: there is none, or its ids exceed the vocabulary that the experiment asks for.
    """
    tokenizer = load_tokenizer(str(settings.path))
    largest = max(tokenizer.get_vocab().values())
    if "vocab_size" in settings.model_fields_set and largest >= settings.vocab_size:
        raise DataError(
            f"{settings.path}: the tokenizer has ids up to {largest}, but tokenizer.vocab_size "
            f"(={settings.vocab_size}) gives the model ids below that; leave vocab_size out"
        )
    return tokenizer


def _blocks(
    config: ExperimentConfig,
    tokenizer: PreTrainedTokenizerBase,
    frame: tuple[list[int], list[int]],
    content: int,
    documents: list[str],
    *,
    keep_rest: bool,
) -> Blocks:
    stream = stream_of(documents, tokenizer, cache=config.data.cache)
    return Blocks(stream, content=content, frame=frame, keep_rest=keep_rest)


def _require_blocks(config: ExperimentConfig, prepared: Prepared) -> None:
    found, needed = len(prepared.train.stream), prepared.train.content
    if not len(prepared.train):
        raise DataError(
            f"data.train: {found} tokens remain for training, fewer than one block of {needed}; "
            "use more text or lower data.max_sequence_length"
        )
    steps = horizon(config, prepared)
    if config.training.warmup_steps > steps:
        raise ConfigError(
            f"training.warmup_steps: must be <= the {steps} steps of {config.training.epochs} "
            f"epochs, got {config.training.warmup_steps}"
        )


def horizon(config: ExperimentConfig, prepared: Prepared) -> int:
    """Return the optimizer steps of the whole run."""
    training = config.training
    if training.max_steps is not None:
        return training.max_steps
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return steps_of_epochs(
        training.epochs or 1, blocks=len(prepared.train), blocks_per_step=per_step
    )


def _describe(splits: Splits, prepared: Prepared) -> None:
    for name, blocks in (
        ("train", prepared.train),
        ("validation", prepared.validation),
        ("test", prepared.test),
    ):
        if blocks is not None:
            stream = blocks.stream
            logger.info(
                "%s",
                f"{name}: {stream.documents:,} documents, {stream.words:,} words, "
                f"{stream.bytes:,} bytes, {len(stream):,} tokens in {len(blocks):,} blocks of "
                f"{blocks.content}" + (f", {blocks.dropped} left over" if blocks.dropped else ""),
            )
    if not prepared.lossless:
        logger.warning(
            "the tokenizer does not give every character back, so its bits per byte cannot be "
            "compared with those of another tokenizer"
        )


def _run(
    config: ExperimentConfig,
    run: RunDirectory,
    prepared: Prepared,
    model: BaseLanguageModel,
    accelerator: Any,
    state: TrainState,
) -> RunResult:
    training, steps = config.training, horizon(config, prepared)
    log = MetricsLog(run.metrics_file)
    collator = prepared.objective.collator(config, prepared.tokenizer)
    measured: dict[str, float] = {}

    def measure(split: Blocks, model: BaseLanguageModel) -> Mapping[str, float]:
        batches = evaluation_batches(split, collator, batch_size=training.eval_batch_size)
        return measure_loss(model, batches, prepared.objective)

    def evaluate(model: BaseLanguageModel) -> Mapping[str, float]:
        measured.update(measure(prepared.validation, model))
        return measured

    def save(
        model: BaseLanguageModel, optimizer: torch.optim.Optimizer, state: TrainState
    ) -> None:
        save_checkpoint(
            run.checkpoint(state.step), model, prepared.tokenizer, optimizer=optimizer, state=state
        )
        state.last_good_step = state.step

    batches = training_batches(
        prepared.train,
        collator,
        micro_batch=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
        seed=config.seeds.data,
        workers=training.dataloader_num_workers,
    )
    with Display(steps) as display:
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
            log=log,
            display=display,
            dropout_seed=config.seeds.dropout,
        )
    save_model(run.model, model, prepared.tokenizer)
    metrics = {f"eval/{name}": value for name, value in measured.items()}
    if prepared.test is not None:
        metrics |= {f"test/{name}": v for name, v in measure(prepared.test, model).items()}
    run.write_measurement(f"loss-step-{state.step:08d}", metrics | {"lossless": prepared.lossless})
    return RunResult(
        output_dir=run.path,
        model_dir=run.model,
        step=state.step,
        parameters=model.get_parameter_count(),
        vocab_size=len(prepared.tokenizer),
        generates=model.supports_generation,
        metrics=metrics,
        lossless=prepared.lossless,
        language=_language_report(config, run, prepared, model, state),
    )


def _language_report(
    config: ExperimentConfig,
    run: RunDirectory,
    prepared: Prepared,
    model: BaseLanguageModel,
    state: TrainState,
) -> LanguageReport | None:
    if not isinstance(config.data.train, LanguageSource):
        return None
    report = measure_language(model, prepared.tokenizer, seed=config.seeds.data)
    run.write_measurement(f"language-step-{state.step:08d}", report.as_json())
    return report
