"""What a run is, and whether a later start of it is still the same run.

A checkpoint carries the identity of its run. Settings that change what is trained must be as they
were; text and tokenizer are compared by content, so that files may be moved; settings that only
watch the training may change freely.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt

from model_foundry.config import ExperimentConfig
from model_foundry.errors import ResumeError

FREE = (
    "experiment_name",
    "output_dir",
    "data.cache_dir",
    "data.test",
    "data.preprocessing_num_workers",
    "training.logging_steps",
    "training.eval_steps",
    "training.save_steps",
    "training.save_minutes",
    "training.save_total_limit",
    "training.milestones",
    "training.distributed",  # how the processes share the work; the global batch is compared
    "training.speed.keep_freed_memory",
    "training.speed.threads",  # the threads in use are part of the environment
    "training.dataloader_num_workers",
)
COMPARED_BY_CONTENT = (
    "data.train",
    "data.validation",
    "data.shared_documents",
    "data.encoding_errors",
    "data.interventions",
    "tokenizer.path",
    # the product of the two is compared, and the number of steps they come to
    "training.per_device_train_batch_size",
    "training.gradient_accumulation_steps",
    "training.max_steps",
    "training.epochs",
)
LAST_BITS = (
    "training.per_device_train_batch_size",
    "training.per_device_eval_batch_size",
    "training.gradient_accumulation_steps",
    "training.attn_implementation",
    "training.gradient_checkpointing",
    "training.compile",
    "training.speed.loss_without_logits",
    "training.speed.fused_activations",
    "training.speed.fused_optimizer",
    "training.speed.fused_recurrence",
    "training.speed.fp32_products",
)
MISSING = "nothing"
PLUGIN = "plugin "


class RunFingerprint(BaseModel):
    """What must not change between two starts of a run, and where it ran."""

    model_config = ConfigDict(strict=True, extra="forbid")

    config: dict[str, Any]
    """The resolved experiment."""
    content: dict[str, str]
    """SHA-256 of each text that training reads, of the tokenizer, and of each plugin."""
    blocks_per_step: PositiveInt
    """The global batch: blocks in one optimizer step."""
    horizon: PositiveInt
    """Optimizer steps of the whole run."""
    environment: dict[str, str]
    """Versions, device and threads, on which the last bits depend."""


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted field, value) of nested mappings."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def as_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Return an experiment as plain data, in which one seed for all is the three it stands for."""
    settings = config.model_dump(mode="json") | {"seed": config.seeds.model_dump()}
    if config.tokenizer.path is not None:
        del settings["tokenizer"]["vocab_size"]  # the tokenizer says it, and is compared itself
    return settings


def changes(
    saved: Mapping[str, Any], now: Mapping[str, Any], free: tuple[str, ...] = ()
) -> list[str]:
    """Return `field: saved -> now` for every field that differs, except those below `free`."""
    before, after = dict(flat(saved)), dict(flat(now))
    return [
        f"{field}: {before.get(field, MISSING)} -> {after.get(field, MISSING)}"
        for field in sorted(before.keys() | after.keys())
        if before.get(field, MISSING) != after.get(field, MISSING)
        and not f"{field}.".startswith(tuple(f"{name}." for name in free))
    ]


def changed_settings(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the changes of settings with which a run would not be the same run any more."""
    return changes(saved, now, free=(*FREE, *COMPARED_BY_CONTENT, *LAST_BITS))


def changed_content(saved: RunFingerprint, now: RunFingerprint) -> list[str]:
    """Return the changes of text, tokenizer, plugins and global batch.

    A plugin that was loaded at one of the two starts only is not compared: where the run needs it,
    its architecture is unknown without it, and where not, it is another experiment's.
    """
    once = {name for name in saved.content.keys() ^ now.content.keys() if name.startswith(PLUGIN)}

    def compared(identity: RunFingerprint) -> dict[str, Any]:
        digests = {name: f"SHA-256 {value[:12]}" for name, value in identity.content.items()}
        kept = {name: digest for name, digest in digests.items() if name not in once}
        return {**kept, "blocks in one step": identity.blocks_per_step}

    return changes(compared(saved), compared(now))


def changed_last_bits(saved: RunFingerprint, now: RunFingerprint) -> list[str]:
    """Return the changes after which numbers agree, but no longer to the last bit."""

    def compared(identity: RunFingerprint) -> dict[str, Any]:
        settings = {name: value for name, value in flat(identity.config) if name in LAST_BITS}
        return settings | identity.environment

    return changes(compared(saved), compared(now))


def require_same(place: object, found: list[str]) -> None:
    """Refuse to go on with a run that is not the same any more.

    Args:
        place: the run directory, for the message.
        found: what has changed.

    Raises:
        ResumeError: something has.
    """
    if found:
        table = "".join(f"\n  {line}" for line in found)
        raise ResumeError(
            f"output_dir: {place} holds a run that was begun otherwise (saved -> now); take the "
            f"change back, start with --fresh to move it aside, or name another output_dir{table}"
        )


def require_horizon(
    place: object, saved: RunFingerprint, now: RunFingerprint, *, extend: bool
) -> None:
    """Refuse another length of the run, unless it is longer and that was asked for.

    Raises:
        ResumeError: the length has changed.
    """
    if saved.horizon == now.horizon or (extend and now.horizon > saved.horizon):
        return
    remedy = (
        "give --extend to go on with the longer schedule"
        if now.horizon > saved.horizon
        else "a run can be extended, but not shortened"
    )
    raise ResumeError(
        f"output_dir: {place} holds a run of another length (saved -> now); {remedy}\n"
        f"  optimizer steps: {saved.horizon} -> {now.horizon}"
    )
