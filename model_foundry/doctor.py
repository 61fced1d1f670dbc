"""What can go wrong between a machine, a library and an experiment, tried out in about a minute.

The experiment is run as it stands, but with short blocks, small batches and four steps, in a
directory beside the one where it would write.
"""

import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from model_foundry.architectures import BaseLanguageModel
from model_foundry.attempt import (
    Attempt,
    blocks_per_step,
    find_start,
    horizon,
    identify,
    measure,
)
from model_foundry.config import ExperimentConfig, save_config, validate
from model_foundry.data.loaders import Batch, evaluation_batches
from model_foundry.durable import write_text
from model_foundry.equivalence import differences
from model_foundry.experiment import resolve
from model_foundry.model import create_model, load_model, special_token_ids
from model_foundry.preparation import Prepared, prepare
from model_foundry.reproducibility import environment
from model_foundry.run_directory import RunDirectory, running
from model_foundry.training.checkpoint import save_model
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.milestones import number_of_milestones
from model_foundry.training.step import take_step

logger = logging.getLogger(__name__)

DEFAULT: dict[str, Any] = {
    "experiment_name": "doctor",
    "data": {"train": {"language": {"sentences": 2000}}, "max_sequence_length": 64},
    "tokenizer": {"tokenizer_type": "bpe", "vocab_size": 500},
    "model": {
        "architecture": "gpt2",
        "transformer": {"layers": 2, "hidden_size": 64, "attention_heads": 2},
    },
    "training": {"max_steps": 1000, "save_steps": 100},
}
LONGEST_BLOCK = 128  # tokens: enough to see a fault, and short enough for a large model on a CPU
ROWS, STEPS, EVALUATED_BLOCKS = 2, 4, 8
LOSS_TOLERANCE = 0.5  # nats that random logits may add to ln V; more means wrong initial weights
RELATIVE_TOLERANCE = 1e-4  # of fp32 sums in another order


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    name: str
    figure: str
    good: bool | None = None
    """None: a fact that is neither good nor bad."""


def examine(config: ExperimentConfig | None = None) -> Iterator[Finding]:
    """Yield the finding of each check, as soon as it is made.

    Args:
        config: the experiment; None: a small one on the built-in language.

    Raises:
        ConfigError, DataError: the experiment could not be trained either.
        SaveError: nothing can be written where it would write.
    """
    config = config or validate(DEFAULT, "doctor")
    place = next(p for p in config.output_dir.absolute().parents if p.is_dir())
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as directory:
        with _quiet():
            patient = Patient.of(config, Path(directory))
        yield from patient.machine()
        for name, check in patient.checks().items():
            try:
                with _quiet():
                    good, figure = check()
            except Exception as error:  # what a check runs into is what was looked for
                logger.debug("%s", name, exc_info=True)
                good, figure = False, f"{type(error).__name__}: {' '.join(str(error).split())}"
            yield Finding(name, figure, good)


@contextmanager
def _quiet() -> Iterator[None]:
    package = logging.getLogger("model_foundry")
    before = package.level
    package.setLevel(logging.ERROR)
    try:
        yield
    finally:
        package.setLevel(before)


Verdict = tuple[bool | None, str]


class Patient:
    """An experiment made small, and what the checks try on it."""

    def __init__(
        self,
        asked: ExperimentConfig,
        config: ExperimentConfig,
        prepared: Prepared,
        accelerator: Accelerator,
        directory: Path,
    ) -> None:
        self.asked, self.config, self.prepared = asked, config, prepared
        self.accelerator, self.directory = accelerator, directory

    @classmethod
    def of(cls, asked: ExperimentConfig, directory: Path) -> "Patient":
        """Make an experiment small, and read what it reads."""
        raw = asked.model_dump(exclude_unset=True)
        length = min(asked.data.max_sequence_length, LONGEST_BLOCK)
        raw["data"] |= {"max_sequence_length": length, "content_tokens": None}
        raw["training"] |= {
            "max_steps": STEPS,
            "epochs": None,
            "warmup_steps": 1,
            "per_device_train_batch_size": 1,
            "per_device_eval_batch_size": ROWS,
            "gradient_accumulation_steps": ROWS,
            "logging_steps": 1,
            "eval_steps": None,
            "save_steps": STEPS // 2,
            "save_total_limit": None,
            "milestones": {},
        }
        raw["output_dir"] = directory / "run"
        accelerator = start_accelerator(asked.training)
        small = validate(raw, "doctor")
        config, _ = resolve(small, device_type=accelerator.device.type)
        prepared = prepare(config)
        few = replace(prepared, validation=prepared.validation.first(EVALUATED_BLOCKS))
        return cls(asked, config, few, accelerator, directory)

    def machine(self) -> Iterator[Finding]:
        """Yield the facts of the machine."""
        facts = environment(self.accelerator.device)
        cores = len(os.sched_getaffinity(0))
        threads = int(facts["threads"])
        yield Finding("device", facts["device"])
        remedy = "" if threads <= cores else "; set OMP_NUM_THREADS, they wait for each other"
        yield Finding("threads", f"{threads} on {cores} cores{remedy}", threads <= cores)
        yield Finding("libraries", f"torch {facts['torch']}, transformers {facts['transformers']}")

    def checks(self) -> dict[str, Callable[[], Verdict]]:
        """Return the checks by name, in the order in which they are made."""
        return {
            "attention": self.attention,
            "tokenizer": self.tokenizer,
            "initial loss": self.initial_loss,
            "padding": self.padding,
            "accumulation": self.accumulation,
            "resumption": self.resumption,
            "tied weights": self.tied_weights,
            "disk": self.disk,
        }

    def attention(self) -> Verdict:
        """The attention kernel that the model uses is the one that was settled on."""
        used = self._model().attention_in_use
        if used is None:
            return None, f"{self.config.model.architecture} has none"
        return used == self.config.training.attn_implementation, used

    def tokenizer(self) -> Verdict:
        """Every id that the tokenizer gives has a row, and its special tokens are the model's."""
        tokenizer, model = self.prepared.tokenizer, self._model()
        largest, rows = max(tokenizer.get_vocab().values()), _rows(model)
        ids = [i for i in special_token_ids(tokenizer).values() if i is not None]
        lossy = "" if self.prepared.lossless else ", and loses characters"
        figure = f"{len(tokenizer):,} tokens for {rows:,} rows, largest id {largest:,}{lossy}"
        return largest < rows and all(0 <= i < rows for i in ids), figure

    def initial_loss(self) -> Verdict:
        """A model that has learned nothing gives each token the same chance."""
        loss = measure(self.config, self.prepared, self.prepared.validation, self._model())["loss"]
        expected = math.log(len(self.prepared.tokenizer))
        good = abs(loss - expected) < LOSS_TOLERANCE
        return good, f"{loss:.3f} nats at step 0, ln(vocabulary) = {expected:.3f}"

    def padding(self) -> Verdict:
        """Padding on either side changes no logit of a real token."""
        model = self._model().eval()
        ids = self._batch().inputs["input_ids"][:1]
        length, pad = ids.shape[1] // 2, self.prepared.tokenizer.pad_token_id or 0
        row, filler = ids[:, :length], torch.full((1, length // 2), pad)
        ones, zeros = torch.ones_like(row), torch.zeros_like(filler)
        with torch.no_grad():
            alone = model(row).logits
            right = model(torch.cat((row, filler), 1), torch.cat((ones, zeros), 1)).logits
            left = model(torch.cat((filler, row), 1), torch.cat((zeros, ones), 1)).logits
        errors = (alone - right[:, :length], alone - left[:, -length:])
        worst = max(float(error.abs().max()) for error in errors)
        scale = float(alone.abs().max())
        return worst <= RELATIVE_TOLERANCE * scale, f"logits differ by at most {worst:.1e}"

    def accumulation(self) -> Verdict:
        """One batch of several rows makes the update of as many batches of one row."""
        whole = self._batch()
        parts = [_row(whole, index) for index in range(len(whole.keys))]
        together, apart = (self._updated(batches) for batches in ([whole], parts))
        errors = [a - b for a, b in zip(together, apart, strict=True)]
        error = _norm(errors) / _norm(together)
        rows = len(parts)
        figure = f"gradients of 1 x {rows} and {rows} x 1 rows differ by {error:.1e} of their norm"
        return error <= RELATIVE_TOLERANCE, figure

    def resumption(self) -> Verdict:
        """A run that is resumed from its second step is bit for bit the run that was not."""
        whole, resumed = self._whole_run, RunDirectory(self.directory / "resumed")
        shutil.copytree(whole.path, resumed.path)
        shutil.rmtree(resumed.checkpoint(STEPS))
        shutil.rmtree(resumed.model)
        self._run(resumed)
        found = differences(whole.path, resumed.path)
        if found:
            return False, f"{len(found)} differences, the first: {found[0]}"
        return True, f"{STEPS // 2} + {STEPS // 2} steps are {STEPS} steps, bit for bit"

    def tied_weights(self) -> Verdict:
        """What shares memory in a new model shares it in a loaded one."""
        new, loaded = (ties(m) for m in (self._model(), load_model(self._whole_run.model)))
        return new == loaded, "; ".join(" = ".join(group) for group in sorted(new)) or "none"

    def disk(self) -> Verdict:
        """The checkpoints of the experiment find room."""
        checkpoint = self._whole_run.checkpoint(STEPS)
        size = sum(path.stat().st_size for path in checkpoint.iterdir())
        probe = self.directory / "probe"
        begun = time.perf_counter()
        with probe.open("wb") as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
        speed = size / (time.perf_counter() - begun)
        free, number = shutil.disk_usage(self.directory).free, self._checkpoints()
        figure = (
            f"{number} x {size / 1e6:,.1f} MB of checkpoints, {free / 1e9:,.1f} GB free; "
            f"written at {speed / 1e6:,.0f} MB/s"
        )
        return number * size < free, figure

    def _checkpoints(self) -> int:
        """Return the most checkpoints that the experiment keeps at a time."""
        training, blocks = self.asked.training, self.prepared.train
        steps = horizon(self.asked, blocks=len(blocks))
        passes = steps * blocks_per_step(self.asked) / len(blocks)
        milestones = number_of_milestones(
            training.milestones,
            steps=steps,
            words=int(passes * blocks.stream.words),
            tokens=int(passes * len(blocks.stream)),
        )
        saved = math.ceil(steps / (training.save_steps or steps))
        # one more than the limit: the next is whole before another goes
        return min(saved, (training.save_total_limit or saved) + 1) + milestones

    def _model(self) -> BaseLanguageModel:
        return create_model(self.config, tokenizer=self.prepared.tokenizer)

    def _batch(self) -> Batch:
        blocks = self.prepared.train.first(ROWS)
        return next(evaluation_batches(blocks, self.prepared.collator, batch_size=ROWS))

    def _updated(self, batches: list[Batch]) -> list[torch.Tensor]:
        """Return the gradients that a step over these batches follows, without dropout."""
        raw = self.config.model_dump(exclude_unset=True)
        raw["model"] = _without_dropout(self.config.model.model_dump(exclude_none=True))
        raw["training"] |= {"mixed_precision": "no"}
        config = validate(raw, "doctor")
        accelerator = start_accelerator(config.training)
        model = create_model(config, tokenizer=self.prepared.tokenizer)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
        take_step(
            prepared,
            optimizer,
            batches,
            objective=self.prepared.objective,
            learning_rate=1.0,
            max_grad_norm=None,
            accelerator=accelerator,
            step=0,
        )
        after = [parameter.detach().cpu() for parameter in model.parameters()]
        return [a - b for a, b in zip(before, after, strict=True)]

    @cached_property
    def _whole_run(self) -> RunDirectory:
        run = RunDirectory(self.directory / "whole")
        self._run(run)
        return run

    def _run(self, run: RunDirectory) -> None:
        """Train the small experiment in a directory, from where it stands there."""
        accelerator = start_accelerator(self.config.training)
        start = find_start(run, self.config)
        run.path.mkdir(exist_ok=True)
        write_text(run.config_file, save_config(self.config))
        identity = identify(self.config, self.prepared, accelerator.device)
        attempt = Attempt(
            self.config,
            run,
            self.prepared,
            identity=identity,
            start=start,
            accelerator=accelerator,
            console=Console(quiet=True),
        )
        model = self._model()
        with running(run, attempt.state, run_id=start.run_id, attempt=start.attempt) as record:
            attempt.train(model, record)
            save_model(run.model, model, self.prepared.tokenizer)


def ties(model: BaseLanguageModel) -> set[tuple[str, ...]]:
    """Return the names of the tensors that are one and the same, in groups."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {tuple(sorted(group)) for group in names.values() if len(group) > 1}


def _rows(model: BaseLanguageModel) -> int:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight.shape[0]


def _norm(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))


def _row(batch: Batch, index: int) -> Batch:
    rows = slice(index, index + 1)
    inputs = {name: tensor[rows] for name, tensor in batch.inputs.items()}
    return replace(batch, inputs=inputs, num_bytes=batch.num_bytes[rows], keys=batch.keys[rows])


def _without_dropout(section: dict[str, Any]) -> dict[str, Any]:
    """Return a section of a model in which every setting named for dropout is zero."""
    zeros = {key: 0.0 for key in section if key.endswith("dropout")}
    below = {k: _without_dropout(v) for k, v in section.items() if isinstance(v, dict)}
    return section | below | zeros
