"""The fingerprint of a run, by which a later start tells if it is still the same run.

Each checkpoint carries one. Settings that change what is trained must be unchanged; text and
tokenizer are compared by content, so that files may be moved; settings that only observe the
training may change freely. `OnResume` marks them at their fields.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt

from model_foundry.config import OBJECTIVES, SCHEDULES, ExperimentConfig
from model_foundry.config.fields import fields_below, flat
from model_foundry.config.on_resume import OnResume, marked
from model_foundry.config.unexpanded import Unexpanded
from model_foundry.errors import ResumeError

MISSING = "nothing"
PLUGIN = "plugin "
FIRST = "metrics (the first decides which checkpoint is the best)"


class RunFingerprint(BaseModel):
    """Everything that must not change between two starts of a run, and the machine it ran on."""

    model_config = ConfigDict(strict=True, extra="forbid")

    config: dict[str, Any]
    """The resolved experiment."""
    content: dict[str, str]
    """SHA-256 of each text that training reads, of the tokenizer, and of each plugin."""
    examples_per_step: PositiveInt
    """The global batch: examples in one optimizer step."""
    total_steps: PositiveInt
    """Optimizer steps of the whole run."""
    environment: dict[str, str]
    """Versions, device and threads, on which the last bits of results depend."""


def as_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Return an experiment as plain data, with one seed for each use, and the metric in force that
    decides which checkpoint is the best: values of two metrics cannot be compared."""
    settings = config.recorded(text_of=_with_digest) | {"seed": config.seeds.model_dump()}
    settings["training"]["metric_for_best_model"] = config.training.best_metric
    if config.tokenizer.path is not None:
        del settings["tokenizer"]["vocab_size"]  # the tokenizer has it, and is compared itself
    return settings


def _with_digest(name: str, found: Unexpanded) -> str:
    """Return the expression of text from the environment, and where it must not change, a digest
    of what it came to."""
    excepted = [each for mark in OnResume for each in marked(mark, ExperimentConfig)]
    if f"{name}.".startswith(tuple(f"{each}." for each in excepted)):
        return found.text
    return f"{found.text} (SHA-256 {sha256(found.value.encode()).hexdigest()[:12]})"


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


def changed_settings(
    saved: Mapping[str, Any], now: Mapping[str, Any], *, best_is_named: bool = True
) -> list[str]:
    """Return the changed settings that would make it a different run.

    Args:
        best_is_named: False if `training.metric_for_best_model` is left out now; then a change of
            the first metric is told instead.
    """
    excepted = [name for mark in OnResume for name in marked(mark, ExperimentConfig)]
    schedule = SCHEDULES.get(now.get("training", {}).get("lr_scheduler_type", ""))
    if schedule is not None and schedule.follows_evaluations:
        excepted.remove("training.eval_steps")
    spec = OBJECTIVES.get(saved.get("training", {}).get("objective", ""))
    defaults = {} if spec is None else spec.losses
    saved = {**saved, **_defaults_of_new(saved, now)}
    before, after = (_with_losses_in_force(settings, defaults) for settings in (saved, now))
    training = before["training"]
    first = [*(training.get("metrics") or (spec.metrics if spec else ()))][:1]
    if not best_is_named and first == [training.get("metric_for_best_model")]:
        before, after = map(_told_by_first_metric, (before, after))
    return changes(before, after, free=tuple(excepted))


def _defaults_of_new(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of settings that an earlier version did not have, by dotted name."""
    known, fields = dict(flat(saved)), dict(fields_below(ExperimentConfig))
    sections = {name[:place] for name in known for place, sign in enumerate(name) if sign == "."}
    new = fields.keys() & dict(flat(now)).keys() - known.keys() - sections
    return {
        name: fields[name].get_default(call_default_factory=True, validated_data={})
        for name in new
        if (name.rpartition(".")[0] in sections or name.partition(".")[0] not in saved)
        and not fields[name].is_required()
    }


def _with_losses_in_force(
    settings: Mapping[str, Any], defaults: Mapping[str, float]
) -> dict[str, Any]:
    """Return settings whose losses are one value, those of the objective where none are named."""
    training = settings.get("training", {})
    losses = training.get("losses") or defaults
    if isinstance(losses, Mapping):
        weights = ", ".join(f"{name}: {losses[name]}" for name in sorted(losses))
        losses = f"{{{weights}}}"
    return {**settings, "training": {**training, "losses": losses}}


def _told_by_first_metric(settings: Mapping[str, Any]) -> dict[str, Any]:
    training = dict(settings["training"])
    return {**settings, "training": {FIRST: training.pop("metric_for_best_model"), **training}}


def changed_content(saved: RunFingerprint, now: RunFingerprint) -> list[str]:
    """Return the changes of text, tokenizer, plugins and global batch.

    A plugin may be renamed. One that was only added, or only left out, is not compared: a run that
    needs it fails without it, and other runs do not depend on it.
    """
    before, after = (
        {value for name, value in each.content.items() if name.startswith(PLUGIN)}
        for each in (saved, now)
    )
    replaced = before ^ after if before - after and after - before else set()

    def compared(identity: RunFingerprint) -> dict[str, Any]:
        digests = {name: f"SHA-256 {value[:12]}" for name, value in identity.content.items()}
        kept = {
            name: digest
            for name, digest in digests.items()
            if not name.startswith(PLUGIN) or identity.content[name] in replaced
        }
        return {**kept, "examples in one step": identity.examples_per_step}

    return changes(compared(saved), compared(now))


def changed_last_bits(saved: RunFingerprint, now: RunFingerprint) -> list[str]:
    """Return the changes after which results agree, but not to the last bit."""
    names = marked(OnResume.LAST_BITS, ExperimentConfig)

    def compared(identity: RunFingerprint) -> dict[str, Any]:
        settings = {name: value for name, value in flat(identity.config) if name in names}
        return settings | identity.environment

    return changes(compared(saved), compared(now))


def require_same(place: object, found: list[str]) -> None:
    """Raise a `ResumeError` if there are changes, one line each, in the run at `place`."""
    if found:
        table = "".join(f"\n  {line}" for line in found)
        raise ResumeError(
            f"output_dir: {place} holds a run with different settings (saved -> now); set the "
            "saved values, start with --fresh to move the run aside, or set another "
            f"output_dir{table}"
        )


def require_length(
    place: object, saved: RunFingerprint, now: RunFingerprint, *, extend: bool
) -> None:
    """Raise a `ResumeError` for another length, unless it is longer and `extend` is set."""
    if saved.total_steps == now.total_steps or (extend and now.total_steps > saved.total_steps):
        return
    remedy = (
        "give --extend to resume with the longer schedule"
        if now.total_steps > saved.total_steps
        else "a run can only be extended; restore the length, or set another output_dir"
    )
    raise ResumeError(
        f"output_dir: {place} holds a run of another length (saved -> now); {remedy}\n"
        f"  optimizer steps: {saved.total_steps} -> {now.total_steps}"
    )
