"""A small version of an experiment: its model, a batch, a step and a short run.

Blocks are short, batches small and evaluations few; all other settings are those of the experiment.
"""

import time
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator

from model_foundry.architectures import BaseLanguageModel, BaseModel
from model_foundry.architectures.hub_types import dropout_fields
from model_foundry.config import SCHEDULES, ExperimentConfig, save_config, validate
from model_foundry.data.batches.loaders import Batch, evaluation_batches
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.errors import ConfigError
from model_foundry.experiment.attempt import Attempt
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.experiment.resume import find_resume_point, make_fingerprint
from model_foundry.experiment.run_directory import RunDirectory, running
from model_foundry.experiment.run_length import total_steps
from model_foundry.foundation.atomic_files import write_text
from model_foundry.model import create_model
from model_foundry.objectives import LanguageObjective, Prepared
from model_foundry.objectives.language import text_splits
from model_foundry.objectives.preparation import objective_of, prepare
from model_foundry.objectives.trial import try_task
from model_foundry.run_reports.reporters import silent
from model_foundry.training.checkpoint.save_load import save_model
from model_foundry.training.context import RunContext
from model_foundry.training.distributed import device_type, start_accelerator
from model_foundry.training.nonfinite import NonFiniteGuard
from model_foundry.training.step import Learner
from model_foundry.training.step_batches import StepBatch

LONGEST_BLOCK = 128  # tokens: enough to see a fault, and short enough for a large model on a CPU
ROWS, STEPS, EVALUATED_BLOCKS = 2, 4, 8
EMBEDDING_STD, GAIN = 0.7, 2.0  # of `randomize`
MAX_BF16_SLOWDOWN = 4.0  # times slower than fp32; beyond that, the small experiment uses fp32


@cache
def slowdown_of_bf16() -> float:
    """Return the time of a matrix product on the CPU in bf16, relative to fp32."""
    if torch.cuda.is_available():
        return 1.0

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(256, 256, dtype=dtype)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) / seconds(torch.float32)


SMALL_DATA = {"content_tokens": None, "document_overlap": 0}
SMALL_TRAINING: dict[str, Any] = {
    "max_steps": STEPS,
    "epochs": None,
    "min_epochs": None,
    "warmup_steps": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": ROWS,
    "gradient_accumulation_steps": ROWS,
    "logging_steps": 1,
    "eval_steps": None,
    "save_strategy": "steps",
    "save_steps": STEPS // 2,
    "save_minutes": None,
    "save_total_limit": None,
    "milestones": {},
}


@dataclass(frozen=True, kw_only=True)
class SmallExperiment:
    """A small version of an experiment, in a directory of its own."""

    asked: ExperimentConfig
    config: ExperimentConfig
    prepared: Prepared
    accelerator: Accelerator
    directory: Path

    @classmethod
    def of(cls, asked: ExperimentConfig, directory: Path) -> "SmallExperiment":
        """Reduce an experiment, and prepare its data.

        Raises:
            ConfigError, DataError: the experiment cannot be trained.
        """
        raw = asked.model_dump(exclude_unset=True)
        length = min(asked.data.max_sequence_length, LONGEST_BLOCK)
        raw["data"] |= SMALL_DATA | {"max_sequence_length": length}
        raw["training"] |= SMALL_TRAINING
        if SCHEDULES[asked.training.lr_scheduler_type].follows_evaluations:
            raw["training"] |= {"eval_steps": STEPS // 2}
        if slowdown_of_bf16() > MAX_BF16_SLOWDOWN:
            raw["training"] |= {"mixed_precision": "no"}
        raw |= {"output_dir": directory / "run", "debug": {}, "tracking": {}}
        objective = objective_of(asked)
        if not isinstance(objective, LanguageObjective):
            name = asked.training.objective
            law = "the doctor checks language models"
            remedy = "`foundry validate` tries another task on its first examples"
            raise ConfigError(f"training.objective (={name}): {law}; {remedy}")
        reduced = validate(raw, "trial")
        reduced.keep_origins(asked.origins)
        config, _ = resolve_auto_settings(reduced, device_type=device_type(reduced.training))
        accelerator = start_accelerator(config.training)
        prepared = prepare(config)
        length = asked.data.content_tokens or asked.data.max_sequence_length
        texts = text_splits(prepared)
        tokens = len(texts["train"].stream)
        total_steps(asked, examples=max(1, tokens // length))  # of the asked one
        few = replace(prepared, validation=texts["validation"].first(EVALUATED_BLOCKS))
        small = cls(
            asked=asked, config=config, prepared=few, accelerator=accelerator, directory=directory
        )
        try_task(small.untrained, few)
        return small

    @property
    def text(self) -> TokenExamples:
        """The rows of the training text."""
        return text_splits(self.prepared)["train"]

    @property
    def validation(self) -> TokenExamples:
        """Some rows of the validation text."""
        return text_splits(self.prepared)["validation"]

    @cached_property
    def untrained(self) -> BaseModel:
        """The untrained model, shared by all checks that do not change it."""
        return self.new_model()

    @property
    def language_model(self) -> BaseLanguageModel:
        """The same of an experiment that trains a language model."""
        return cast(BaseLanguageModel, self.untrained)

    def new_model(self) -> BaseModel:
        """Return a new model; all have the same initial weights."""
        arguments = self.prepared.objective.model_arguments(self.prepared.processors)
        return create_model(self.config, **arguments)

    def batch(self) -> Batch:
        """Return the first rows of the training text."""
        rows = self.text.first(ROWS)
        return next(evaluation_batches(rows, self.prepared.collate, batch_size=ROWS))

    def leak(self) -> str | None:
        """Return a description of a leak of targets into the outputs; None: there is none."""
        try:
            self.prepared.objective.check_model(self.untrained, self.prepared)
        except ConfigError as error:
            return str(error)
        return None

    def gradients(self, batches: list[Batch]) -> list[torch.Tensor]:
        """Return the gradients of a step over these batches, without dropout."""
        raw = self.config.model_dump(exclude_unset=True)
        raw["model"] = without_dropout(self.config.model.model_dump(exclude_none=True))
        raw["training"] |= {"mixed_precision": "no"}
        config = validate(raw, "trial")
        accelerator = start_accelerator(config.training)
        arguments = self.prepared.objective.model_arguments(self.prepared.processors)
        model = create_model(config, **arguments)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
        learner = Learner(
            model=prepared,
            optimizer=optimizer,
            objective=self.prepared.objective,
            accelerator=accelerator,
            guard=NonFiniteGuard(at_once=True),
        )
        batch = StepBatch.of(batches, self.prepared.objective)
        learner.take_step(batch, step=0, learning_rate=1.0)
        after = [parameter.detach().cpu() for parameter in model.parameters()]
        return [a - b for a, b in zip(before, after, strict=True)]

    @cached_property
    def whole_run(self) -> RunDirectory:
        """An uninterrupted run."""
        run = RunDirectory(self.directory / "whole")
        self.train(run)
        return run

    def train(self, run: RunDirectory) -> None:
        """Train the small experiment in a directory, or resume it there."""
        accelerator = start_accelerator(self.config.training)
        start = find_resume_point(run, self.config)
        run.path.mkdir(exist_ok=True)
        write_text(run.config_file, save_config(self.config))
        fingerprint = make_fingerprint(self.config, self.prepared, accelerator.device)
        context = RunContext(
            config=self.config,
            total_steps=fingerprint.total_steps,
            state=start.state(),
            accelerator=accelerator,
        )
        attempt = Attempt(
            run,
            self.prepared,
            context=context,
            fingerprint=fingerprint,
            start=start,
            make_reporter=silent,
        )
        model = cast(BaseLanguageModel, self.new_model())
        with running(run, context.state, run_id=start.run_id, attempt=start.attempt) as record:
            attempt.train(model, lambda: record)
            save_model(run.model, model, self.prepared.processors)


@torch.no_grad()
def randomize(model: BaseLanguageModel) -> None:
    """Draw weights with which every next token depends on all tokens before it.

    With initial weights a model repeats one token, whatever its input. Larger weights than these
    amplify rounding differences from one step to the next.
    """
    draw = torch.Generator().manual_seed(0)
    embeddings = model.get_input_embeddings().weight
    for weight in model.parameters():
        if weight.dim() > 1:
            std = EMBEDDING_STD if weight is embeddings else GAIN / weight.shape[-1] ** 0.5
            weight.normal_(std=std, generator=draw)


def without_dropout(section: dict[str, Any]) -> dict[str, Any]:
    """Return a section of a model in which every setting named for dropout is zero.

    So is every such field of a model type of transformers, whose defaults are often others.
    """
    named = [key for key in section if key.endswith("dropout")]
    if isinstance(section.get("model_type"), str):
        named += dropout_fields(section["model_type"])
    below = {k: without_dropout(v) for k, v in section.items() if isinstance(v, dict)}
    return section | below | dict.fromkeys(named, 0.0)
