"""Sections of `training`: milestones, speed, and the division among processes."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from model_foundry.config.data import Count
from model_foundry.config.on_resume import OnResume
from model_foundry.config.sections import PositiveInt, Section, faults_error
from model_foundry.registry import nearest


def _ascending(counts: list[int]) -> list[int]:
    return sorted(set(counts))


_COUNT, _COUNTS = TypeAdapter(Count), TypeAdapter(list[Count])


def _every_or_at(value: Any) -> Any:
    # Before the union, which would report a line for each of its members.
    if value is None:
        return None
    if isinstance(value, list):
        return _ascending(_COUNTS.validate_python(value, strict=True))
    return _COUNT.validate_python(value, strict=True)


def _every_or_at_or_babylm(value: Any) -> Any:
    if not isinstance(value, str):
        return _every_or_at(value)
    if value != "babylm":
        law = "must be a number, a list of numbers or 'babylm'"
        hint = f"; did you mean {close!r}?" if (close := nearest(value, ["babylm"])) else ""
        raise faults_error(("", f"{law}, got {value!r} (text){hint}"))
    return value


class MilestonesConfig(Section):
    """Checkpoints for later analysis, beside those to resume from; they are never deleted."""

    steps: Annotated[list[PositiveInt], AfterValidator(_ascending)] = Field(default_factory=list)
    """After these optimizer steps, in any order."""
    logarithmic: PositiveInt | None = None
    """After 1, 2, 4, 8, ... optimizer steps below this number, and after its multiples; None: no
    such series."""
    words: Annotated[
        Count | list[Count] | Literal["babylm"] | None, BeforeValidator(_every_or_at_or_babylm)
    ] = None
    """Words seen, repeats included: every so many, a list of numbers, or `babylm` (each million
    up to 10, each ten up to 100, each hundred from then on); None: words do not matter."""
    tokens: Annotated[Count | list[Count] | None, BeforeValidator(_every_or_at)] = None
    """Tokens seen, repeats included: every so many, or a list of numbers; None: tokens do not
    matter."""
    first_epoch: PositiveInt | None = None
    """So many, evenly spaced within the first epoch, the last of them at its end; None: none."""
    save_only_model: bool = True
    """Keep model and tokenizer only; false: also what is needed to resume from there."""

    @property
    def has_any(self) -> bool:
        """True if there is a milestone."""
        steps = self.steps or self.logarithmic or self.first_epoch
        return bool(steps or self.words or self.tokens)


class SpeedConfig(Section):
    """Settings that speed up training on this machine. Results change in the last bits only; each
    can be switched off separately."""

    loss_without_logits: Annotated[bool, OnResume.LAST_BITS] = True
    """Compute the loss from the positions that have a label, and keep no logits beside it."""
    fused_activations: Annotated[bool, OnResume.LAST_BITS] = True
    """Compute nonlinearities in one pass, where torch has the same function so."""
    fused_optimizer: Annotated[bool, OnResume.LAST_BITS] = True
    """Update all parameters in one pass."""
    fused_recurrence: Annotated[bool, OnResume.LAST_BITS] = True
    """Read whole sequences with one function in GRU and Elman layers, on a CPU in fp32."""
    fp32_products: Annotated[Literal["auto", "default", "onednn", "tf32"], OnResume.LAST_BITS] = (
        "auto"
    )
    """Library that multiplies matrices in fp32: `default` is torch's choice, `onednn` is faster on
    AMD processors with AVX-512, `tf32` rounds factors to 10 bits on NVIDIA GPUs; auto: by the facts
    of the machine."""
    keep_freed_memory: Annotated[bool, OnResume.FREE] = True
    """Keep freed memory in the process instead of returning it to the system; only the command line
    does, and where the C library can."""
    threads: Annotated[PositiveInt | None, OnResume.FREE] = None
    """Threads of one process, as the command line sets them; None: OMP_NUM_THREADS, or else the
    physical cores that the process may use."""


class DistributedConfig(Section):
    """Division of a run among the processes that `torchrun` starts."""

    strategy: Literal["ddp", "fsdp2"] = "ddp"
    """ddp: each process holds the whole model (Li et al. 2020, arXiv:2006.15704). fsdp2: weights,
    gradients and moments are divided among GPUs (Zhao et al. 2023, arXiv:2304.11277), for models
    that do not fit on one."""
    cpu_offload: bool = False
    """Keep the divided weights and moments in the memory of the host; fsdp2 only."""
    reshard_after_forward: bool = True
    """Give the gathered weights of a layer back after its forward pass: less memory, more traffic;
    fsdp2 only."""
    timeout_minutes: PositiveInt = 10
    """Minutes that a process waits for the others before it fails; preparation has no limit."""
