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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import ExperimentConfig, load_config
from model_foundry.data.batches.loaders import Batch
from model_foundry.doctor.same_run import differences
from model_foundry.doctor.small_experiment import (
    MAX_BF16_SLOWDOWN,
    STEPS,
    SmallExperiment,
    slowdown_of_bf16,
)
from model_foundry.errors import Interrupted, LockedError, SaveError
from model_foundry.experiment.attempt import measure
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.run_length import horizon
from model_foundry.foundation.environment_variables import without_variables
from model_foundry.foundation.interrupts import blocking_section, check_interrupt
from model_foundry.foundation.locks import exclusive
from model_foundry.foundation.random_state import environment
from model_foundry.foundation.tested_versions import (
    installed_versions,
    newer_than_tested,
    older_than_tested,
)
from model_foundry.model import load_model, special_token_ids
from model_foundry.training.milestones import number_of_milestones

logger = logging.getLogger(__name__)

PREFIX, LOCK = ".doctor-", ".lock"
DEFAULT = Path(__file__).with_name("default.yaml")
LOSS_TOLERANCE = 0.5  # nats that random logits may add to ln V; more means wrong initial weights
NEW_TOKENS = 12  # that generation adds to a row, and that its longest prompt has
RELATIVE_TOLERANCE = 1e-4  # of fp32 sums in another order


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    name: str
    figure: str
    good: bool | None = None
    """None: a fact that is neither good nor bad."""


Verdict = tuple[bool | None, str]


def machine(trial: SmallExperiment) -> Iterator[Finding]:
    """Yield the facts of the machine."""
    facts = environment(trial.accelerator.device)
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = int(facts["threads"])
    yield Finding("device", facts["device"])
    remedy = "" if threads <= cores else "; set OMP_NUM_THREADS, they wait for each other"
    yield Finding("threads", f"{threads} on {cores} cores{remedy}", threads <= cores)
    yield libraries()


def libraries() -> Finding:
    """Return the versions of the libraries, and those among them that were never tested.

    A newer one is no fault: the checks say whether it works.
    """
    installed = installed_versions()
    newer, older = list(newer_than_tested(installed)), list(older_than_tested(installed))
    named = ", ".join(f"{library} {found}" for library, found in installed.items())
    good = False if older else None if newer else True
    return Finding("libraries", "; ".join([named, *older, *newer]), good)


def precision(trial: SmallExperiment) -> Verdict:
    """The products of the model are not slower than they would be without a setting."""
    asked, slowdown = trial.asked.training.mixed_precision, slowdown_of_bf16()
    if asked == "auto":
        return None, f"{trial.config.training.mixed_precision}, by the facts of the machine"
    if asked != "bf16":
        return None, "fp32" if asked == "no" else asked
    if slowdown > MAX_BF16_SLOWDOWN:
        remedy = "set training.mixed_precision=no, as was done for the checks below"
        return False, f"bf16, which takes this CPU {slowdown:.0f} times longer; {remedy}"
    return True, f"bf16, {slowdown:.1f} times the time of fp32"


def attention(trial: SmallExperiment) -> Verdict:
    """The attention kernel that the model uses is the one that was settled on."""
    used = trial.untrained.attention_in_use
    if used is None:
        return None, f"{trial.config.model.architecture} has none"
    return used == trial.config.training.attn_implementation, used


def tokenizer(trial: SmallExperiment) -> Verdict:
    """Every id that the tokenizer gives has a row, and its special tokens are the model's."""
    tokenizer, model = trial.prepared.tokenizer, trial.untrained
    largest, rows = max(tokenizer.get_vocab().values()), _rows(model)
    ids = [i for i in special_token_ids(tokenizer).values() if i is not None]
    lossy = "" if trial.prepared.lossless else ", and loses characters"
    figure = f"{len(tokenizer):,} tokens for {rows:,} rows, largest id {largest:,}{lossy}"
    return largest < rows and all(0 <= i < rows for i in ids), figure


def initial_loss(trial: SmallExperiment) -> Verdict:
    """A model that has learned nothing gives each token the same chance."""
    loss = measure(trial.config, trial.prepared, trial.prepared.validation, trial.untrained)["loss"]
    expected = math.log(len(trial.prepared.tokenizer))
    good = abs(loss - expected) < LOSS_TOLERANCE
    return good, f"{loss:.3f} nats at step 0, ln(vocabulary) = {expected:.3f}"


def padding(trial: SmallExperiment) -> Verdict:
    """Padding on either side changes no logit of a real token."""
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
    """Rows padded on the left are continued as if each were read whole again for each token."""
    if not trial.untrained.supports_generation:
        return None, f"{trial.config.model.architecture} fills masks"
    model, pad = trial.wandering_model(), trial.prepared.tokenizer.pad_token_id or 0
    length = trial.batch().inputs["input_ids"].shape[1]
    new = max(1, min(NEW_TOKENS, length // 2))
    long = max(1, min(NEW_TOKENS, length - new))
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(_rows(model), (n,), generator=draw) for n in (max(1, long // 2), long)]
    ids, mask = (torch.zeros(len(rows), long, dtype=torch.long) for _ in range(2))
    for index, row in enumerate(rows):
        filler = long - len(row)
        ids[index] = torch.cat((torch.full((filler,), pad), row))
        mask[index, filler:] = 1
    made = model.generate(
        ids, attention_mask=mask, max_new_tokens=new, eos_token_id=None, pad_token_id=pad
    )
    wrong = sum(
        int((together[long:] != _continued(model, row, new)).sum())
        for row, together in zip(rows, made, strict=True)
    )
    figure = f"{wrong} of {new * len(rows)} tokens differ between cached and uncached generation"
    return wrong == 0, figure


@torch.no_grad()
def _continued(model: BaseLanguageModel, row: torch.Tensor, number: int) -> torch.Tensor:
    """Return the next ids of a row (T,), which is read as a whole for each of them."""
    for _ in range(number):
        row = torch.cat((row, model(row[None]).logits[0, -1:].argmax(-1)))
    return row[-number:]


def leaks(trial: SmallExperiment) -> Verdict:
    """Nothing that is to be predicted is read."""
    leak, later = trial.leak(), "later tokens, " if trial.untrained.is_causal else ""
    return leak is None, leak or f"no output depends on {later}labels or other rows"


def accumulation(trial: SmallExperiment) -> Verdict:
    """One batch of several rows makes the update of as many batches of one row."""
    whole = trial.batch()
    parts = [_row(whole, index) for index in range(len(whole.keys))]
    together, apart = (trial.gradients(batches) for batches in ([whole], parts))
    errors = [a - b for a, b in zip(together, apart, strict=True)]
    error = _norm(errors) / _norm(together)
    rows = len(parts)
    figure = f"gradients of 1 x {rows} and {rows} x 1 rows differ by {error:.1e} of their norm"
    return error <= RELATIVE_TOLERANCE, figure


def resumption(trial: SmallExperiment) -> Verdict:
    """A run that is resumed from its second step is bit for bit the run that was not."""
    whole, resumed = trial.whole_run, RunDirectory(trial.directory / "resumed")
    # linked, because large models take long to copy: no file of a run is ever written in place
    shutil.copytree(whole.path, resumed.path, copy_function=os.link)
    shutil.rmtree(resumed.checkpoint(STEPS))
    shutil.rmtree(resumed.model)
    trial.go_on(resumed)
    found = differences(whole.path, resumed.path)
    if found:
        return False, f"{len(found)} differences, the first: {found[0]}"
    return True, f"{STEPS // 2} + {STEPS // 2} steps are {STEPS} steps, bit for bit"


def tied_weights(trial: SmallExperiment) -> Verdict:
    """What shares memory in a new model shares it in a loaded one."""
    new, loaded = (ties(m) for m in (trial.untrained, load_model(trial.whole_run.model)))
    return new == loaded, "; ".join(" = ".join(group) for group in sorted(new)) or "none"


def disk(trial: SmallExperiment) -> Verdict:
    """The checkpoints of the experiment find room."""
    checkpoint = trial.whole_run.checkpoint(STEPS)
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    probe = trial.directory / "probe"
    begun = time.perf_counter()
    with probe.open("wb") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
    speed = size / (time.perf_counter() - begun)
    free, number = shutil.disk_usage(trial.directory).free, _checkpoints(trial)
    figure = (
        f"{number} x {size / 1e6:,.1f} MB of checkpoints, {free / 1e9:,.1f} GB free; "
        f"written at {speed / 1e6:,.0f} MB/s"
    )
    return number * size < free, figure


def _checkpoints(trial: SmallExperiment) -> int:
    """Return the most checkpoints that the experiment keeps at a time."""
    training, data, stream = trial.asked.training, trial.asked.data, trial.prepared.train.stream
    length = data.content_tokens or data.max_sequence_length
    steps = horizon(trial.asked, blocks=max(1, len(stream) // length))
    tokens = steps * training.rows_per_step * length
    milestones = number_of_milestones(
        training.milestones,
        steps=steps,
        words=tokens * stream.words // len(stream),
        tokens=tokens,
    )
    saved = math.ceil(steps / (training.save_steps or steps))
    # one more than the limit: the next is whole before another goes
    return min(saved, (training.save_total_limit or saved) + 1) + milestones


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


def examine(
    config: ExperimentConfig | None = None, *, announce: Callable[[str], object] = str
) -> Iterator[Finding]:
    """Yield the finding of each check, as soon as it is made.

    Args:
        config: the experiment; None: a small one on the built-in language.
        announce: is called with the name of each check before it is made.

    Raises:
        Interrupted: a signal came; nothing is left behind.
        ConfigError, DataError: the experiment could not be trained either.
        SaveError: nothing can be written where it would write.
    """
    config = config or load_config(DEFAULT)
    with without_variables(), _room_beside(config.output_dir) as directory:
        with _quiet():
            trial = SmallExperiment.of(config, directory)
        yield from machine(trial)
        for name, check in CHECKS.items():
            announce(name)
            try:
                check_interrupt()
                with _quiet(), blocking_section(f"the check of {name}"):
                    good, figure = check(trial)
            except Interrupted:
                raise
            except Exception as error:  # what a check runs into is what was looked for
                logger.debug("%s", name, exc_info=True)
                good, figure = False, f"{type(error).__name__}: {' '.join(str(error).split())}"
            yield Finding(name, figure, good)


@contextmanager
def _room_beside(output_dir: Path) -> Iterator[Path]:
    """Make a directory on the disk of a run, and remove it and what killed doctors left there."""
    place = next(p for p in output_dir.absolute().parents if p.is_dir())
    for left in place.glob(f"{PREFIX}*"):
        with suppress(LockedError, SaveError), exclusive(left / LOCK):
            shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as directory,
        exclusive(Path(directory) / LOCK),
    ):
        yield Path(directory)


@contextmanager
def _quiet() -> Iterator[None]:
    package = logging.getLogger("model_foundry")
    before = package.level
    package.setLevel(logging.ERROR)
    try:
        yield
    finally:
        package.setLevel(before)
