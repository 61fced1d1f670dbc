"""The checks of `foundry doctor`: a minute of trying out an experiment on this machine.

The experiment runs with short blocks, small batches and four steps, in a temporary directory beside
that of its run.
"""

import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch.nn.utils.rnn import pad_sequence

from model_foundry.architectures import MODEL_REGISTRY, BaseLanguageModel, BaseModel
from model_foundry.config import ARCHITECTURES, OBJECTIVES, ExperimentConfig, load_config
from model_foundry.data.batches.loaders import Batch
from model_foundry.doctor.disk import disk
from model_foundry.doctor.findings import Finding, machine
from model_foundry.doctor.same_run import differences
from model_foundry.doctor.small_experiment import (
    MAX_BF16_SLOWDOWN,
    STEPS,
    SmallExperiment,
    randomize,
    slowdown_of_bf16,
)
from model_foundry.errors import Interrupted, LockedError, SaveError
from model_foundry.experiment.measure_split import measure_split
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.environment_variables import without_variables
from model_foundry.foundation.interrupts import blocking_section, check_interrupt
from model_foundry.foundation.locks import exclusive
from model_foundry.model import load_model
from model_foundry.tokenizer.special_tokens import special_token_ids
from model_foundry.training.distributed import errors_only

logger = logging.getLogger(__name__)

PREFIX, LOCK = ".doctor-", ".lock"
DEFAULT = Path(__file__).with_name("default.yaml")
LOSS_TOLERANCE = 0.5  # nats that random logits may add to ln V; more means wrong initial weights
NEW_TOKENS = 12  # that generation adds to a row, and that its longest prompt has
RELATIVE_TOLERANCE = 1e-4  # of fp32 sums in another order


Verdict = tuple[bool | None, str]


def precision(trial: SmallExperiment) -> Verdict:
    """Check that the chosen precision is not slower than fp32."""
    asked, slowdown = trial.asked.training.mixed_precision, slowdown_of_bf16()
    if asked == "auto":
        return None, f"{trial.config.training.mixed_precision}, chosen for this machine"
    if asked != "bf16":
        return None, "fp32" if asked == "no" else asked
    if slowdown > MAX_BF16_SLOWDOWN:
        remedy = "set training.mixed_precision=no, as the checks below do"
        return False, f"bf16, which is {slowdown:.0f} times slower on this CPU; {remedy}"
    return True, f"bf16, {slowdown:.1f} times the time of fp32"


def attention(trial: SmallExperiment) -> Verdict:
    """Check that the model uses the attention kernel of the settings."""
    used, name = trial.untrained.attention_in_use, trial.config.model.architecture
    if used is None:
        return None, f"{name} has none"
    if "attn_implementation" not in ARCHITECTURES[name].settings:
        return None, f"{used}, by its own choice"
    wanted = trial.config.training.attn_implementation
    return used == wanted, used if used == wanted else f"{used}, but the settings ask for {wanted}"


def tokenizer(trial: SmallExperiment) -> Verdict:
    """Check that the embedding has a row for every id of the tokenizer."""
    tokenizer, rows = trial.prepared.tokenizer, trial.language_model.vocabulary_size
    largest = max(tokenizer.get_vocab().values())
    ids = [i for i in special_token_ids(tokenizer).values() if i is not None]
    lossy = "" if trial.validation.stream.facts.lossless else ", and loses characters"
    figure = f"{len(tokenizer):,} tokens for {rows:,} rows, largest id {largest:,}{lossy}"
    return largest < rows and all(0 <= i < rows for i in ids), figure


def initial_loss(trial: SmallExperiment) -> Verdict:
    """Check that an untrained model gives each token about the same probability."""
    prepared = trial.prepared
    loss = measure_split(trial.config, prepared, trial.validation, trial.language_model)["loss"]
    expected = math.log(len(trial.prepared.tokenizer))
    good = abs(loss - expected) < LOSS_TOLERANCE
    return good, f"{loss:.3f} nats at step 0, ln(vocabulary) = {expected:.3f}"


def padding(trial: SmallExperiment) -> Verdict:
    """Check that padding on either side changes no logit of a real token."""
    model = trial.untrained.eval()
    ids = trial.batch().inputs["input_ids"][:1]
    length, pad = ids.shape[1] // 2, trial.prepared.tokenizer.pad_token_id or 0
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


def generation(trial: SmallExperiment) -> Verdict:
    """Check that cached generation of padded rows equals uncached generation of single rows."""
    if not trial.untrained.supports_generation:
        return None, f"{trial.config.model.architecture} fills masks"
    model, pad = _varied_model(trial).eval(), trial.prepared.tokenizer.pad_token_id or 0
    length = trial.batch().inputs["input_ids"].shape[1]
    new = max(1, min(NEW_TOKENS, length // 2))
    long = max(1, min(NEW_TOKENS, length - new))
    draw = torch.Generator().manual_seed(0)
    rows = [
        torch.randint(model.vocabulary_size, (n,), generator=draw)
        for n in (max(1, long // 2), long)
    ]
    ids = pad_sequence(rows, batch_first=True, padding_value=pad, padding_side="left")
    mask = pad_sequence([torch.ones_like(row) for row in rows], True, padding_side="left")
    generated = model.generate(
        ids, attention_mask=mask, max_new_tokens=new, eos_token_id=None, pad_token_id=pad
    )
    wrong = sum(
        int((together[long:] != _continued(model, row, new)).sum())
        for row, together in zip(rows, generated, strict=True)
    )
    figure = f"{wrong} of {new * len(rows)} tokens differ between cached and uncached generation"
    return wrong == 0, figure


def _varied_model(trial: SmallExperiment) -> BaseLanguageModel:
    """Return a model whose next token depends on those before it."""
    if ARCHITECTURES[trial.config.model.architecture].trained_by == "counting":
        return cast(BaseLanguageModel, load_model(trial.whole_run.model))
    model = cast(BaseLanguageModel, trial.new_model())
    randomize(model)
    return model


@torch.no_grad()
def _continued(model: BaseLanguageModel, row: torch.Tensor, number: int) -> torch.Tensor:
    """Return the next ids of a row (T,), each computed from the whole row."""
    for _ in range(number):
        row = torch.cat((row, model(row[None]).logits[0, -1:].argmax(-1)))
    return row[-number:]


def leaks(trial: SmallExperiment) -> Verdict:
    """Check that no target leaks into an output."""
    leak, later = trial.leak(), "later tokens, " if trial.language_model.is_causal else ""
    return leak is None, leak or f"no output depends on {later}labels or other rows"


def accumulation(trial: SmallExperiment) -> Verdict:
    """Check that one batch of several rows gives the update of as many batches of one row."""
    whole = trial.batch()
    parts = [_row(whole, index) for index in range(len(whole.keys))]
    together, apart = (trial.gradients(batches) for batches in ([whole], parts))
    errors = [a - b for a, b in zip(together, apart, strict=True)]
    error = _norm(errors) / _norm(together)
    rows = len(parts)
    figure = f"gradients of 1 x {rows} and {rows} x 1 rows differ by {error:.1e} of their norm"
    return error <= RELATIVE_TOLERANCE, figure


def resumption(trial: SmallExperiment) -> Verdict:
    """Check that a run resumed from its second step is bit for bit the uninterrupted run."""
    whole, resumed = trial.whole_run, RunDirectory(trial.directory / "resumed")
    # linked, because large models take long to copy: no file of a run is ever written in place
    shutil.copytree(whole.path, resumed.path, copy_function=os.link)
    shutil.rmtree(resumed.checkpoint(STEPS))
    shutil.rmtree(resumed.model)
    trial.train(resumed)
    found = differences(whole.path, resumed.path)
    if found:
        return False, f"{len(found)} differences, the first: {found[0]}"
    return True, f"{STEPS // 2} + {STEPS // 2} steps are {STEPS} steps, bit for bit"


def tied_weights(trial: SmallExperiment) -> Verdict:
    """Check that the tied weights of a new model are tied in a loaded one."""
    new, loaded = (ties(m) for m in (trial.untrained, load_model(trial.whole_run.model)))
    return new == loaded, "; ".join(" = ".join(group) for group in sorted(new)) or "none"


def ties(model: BaseModel) -> set[tuple[str, ...]]:
    """Return groups of names that share one tensor."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {tuple(sorted(group)) for group in names.values() if len(group) > 1}


def _norm(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))


def _row(batch: Batch, index: int) -> Batch:
    rows = slice(index, index + 1)
    inputs = {name: tensor[rows] for name, tensor in batch.inputs.items()}
    return replace(batch, inputs=inputs, keys=batch.keys[rows])


CHECKS: dict[str, Callable[[SmallExperiment], Verdict]] = {
    "precision": precision,
    "attention": attention,
    "tokenizer": tokenizer,
    "initial loss": initial_loss,
    "leaks": leaks,
    "padding": padding,
    "generation": generation,
    "accumulation": accumulation,
    "resumption": resumption,
    "tied weights": tied_weights,
    "disk": disk,
}
OF_TOKENS = ("tokenizer", "initial loss", "leaks", "padding", "generation")
OF_GRADIENTS = ("accumulation",)


def _verdict(trial: SmallExperiment, name: str) -> Verdict:
    """Return the verdict of a check, if it applies to the kind of model."""
    architecture = ARCHITECTURES[trial.config.model.architecture]
    kind = OBJECTIVES[trial.config.training.objective].model_kind
    of_language = issubclass(MODEL_REGISTRY[architecture.name], BaseLanguageModel)
    of_language &= kind not in architecture.other_kinds
    if name in OF_TOKENS and not of_language:
        return None, f"{architecture.name} is no language model"
    if name in OF_GRADIENTS and architecture.trained_by == "counting":
        return None, f"{architecture.name} learns by counting"
    return CHECKS[name](trial)


def examine(
    config: ExperimentConfig | None = None, *, announce: Callable[[str], object] = str
) -> Iterator[Finding]:
    """Yield the finding of each check, as soon as it is known.

    Args:
        config: the experiment; None: a small one on the built-in language.
        announce: called with the name of each check before it runs.

    Raises:
        Interrupted: a signal came; nothing is left behind.
        ConfigError, DataError: the experiment cannot be trained.
        SaveError: its directory cannot be written.
    """
    config = config or load_config(DEFAULT)
    with without_variables(), _room_beside(config.output_dir) as directory:
        with errors_only():
            trial = SmallExperiment.of(config, directory)
        yield from machine(trial)
        for name in CHECKS:
            announce(name)
            try:
                check_interrupt()
                with errors_only(), blocking_section(f"the check of {name}"):
                    good, figure = _verdict(trial, name)
            except Interrupted:
                raise
            except Exception as error:  # a failing check is a finding
                logger.debug("%s", name, exc_info=True)
                good, figure = False, f"{type(error).__name__}: {' '.join(str(error).split())}"
            yield Finding(name, figure, good)


@contextmanager
def _room_beside(output_dir: Path) -> Iterator[Path]:
    """Create a directory beside that of the run, and remove those of killed doctors."""
    place = next(p for p in output_dir.absolute().parents if p.is_dir())
    for left in place.glob(f"{PREFIX}*"):
        with suppress(LockedError, SaveError), exclusive(left / LOCK):
            shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as directory,
        exclusive(Path(directory) / LOCK),
    ):
        yield Path(directory)
