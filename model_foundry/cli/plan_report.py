"""The output of `foundry plan`, at 80 columns."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from textwrap import wrap

from model_foundry.foundation.messages import printable, size_of_bytes
from model_foundry.planning.figures import LargestBatch, Length, Memory, Plan

WIDTH, INDENT = 80, 18
CHINCHILLA = 20
"""Tokens for each parameter with which a given number of operations is spent best (Hoffmann et al.
2022, arXiv:2203.15556)."""
Row = tuple[str, str]


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan: its figures by topic, then its risks."""
    yield printable(f"{plan.experiment_name}: {plan.architecture}, {plan.objective}")
    for title, rows in (
        ("model", _parameters(plan)),
        ("run", _length(plan)),
        ("operations", _compute(plan)),
        ("memory", _memory(plan)),
        ("disk", _disk(plan)),
        ("time", _time(plan)),
    ):
        yield from ("", title)
        for name, value in rows:
            yield from _row(name, value)
    yield from ("", "risks" if plan.risks else "risks: none found")
    for risk in plan.risks:
        mark = "FAILS" if risk.certain else "warning"
        yield from _row(mark, f"{risk.name}: {risk.text}")


def _row(name: str, value: str) -> Iterator[str]:
    first, *rest = wrap(value, WIDTH - INDENT) or [""]
    yield f"  {name:{INDENT - 2}}{first}"
    for line in rest:
        yield " " * INDENT + line


def _parameters(plan: Plan) -> Iterator[Row]:
    counted = plan.parameters
    frozen = counted.total - counted.trainable
    yield "parameters", f"{counted.total:,}" + (f", {frozen:,} of them frozen" if frozen else "")
    parts = {
        "embeddings": counted.embeddings,
        "layers": counted.layers,
        "other": counted.other,
        "head": counted.head,
    }
    for name, number in parts.items():
        tied = name == "embeddings" and counted.tied
        note = ", tied to the output matrix" if tied else ""
        if number:
            yield f"  {name}", f"{number:,} ({number / max(1, counted.total):.1%}{note})"
    if (known := plan.vocabulary) is not None:
        yield (
            "vocabulary",
            f"{known.ordinary:,} entries beside special tokens; in the training text "
            f"{known.never:,} never, {known.rare:,} fewer than 10 times",
        )


def _length(plan: Plan) -> Iterator[Row]:
    length = plan.length
    yield (
        "steps",
        f"{length.steps:,}, each of {length.examples_per_step:,} examples{_units(length)}",
    )
    in_all = [f"{number:,} {unit}" for unit, number in length.in_all.items()]
    in_all.append(f"{length.steps * length.examples_per_step:,} examples")
    yield "in all", ", ".join(in_all)
    yield "passes", f"{length.passes:,.2f} over {length.examples:,} examples"
    yield "evaluations", _steps(plan.schedule.evaluations) + f"; {length.evaluated:,} examples each"
    yield "checkpoints", _steps(plan.schedule.checkpoints)
    if plan.schedule.milestones:
        about = "about " if plan.schedule.about else ""
        yield "milestones", about + _steps(plan.schedule.milestones)


def _units(length: Length) -> str:
    parts = [f"{number:,.0f} {unit}" for unit, number in length.per_step.items()]
    return f" ({', '.join(parts)})" if parts else ""


def _steps(steps: Sequence[int]) -> str:
    """Return steps in one short line: the distance of even ones, else the first and the last."""
    number = f"{len(steps):,}"
    if not steps:
        return "none"
    if len(steps) == 1:
        return f"{number}, after step {steps[0]:,}"
    first, last = steps[0], steps[-1]
    if all(step == first * place for place, step in enumerate(steps[:-1], 1)):
        every = "each step" if first == 1 else f"every {first:,} steps"
        return f"{number}, {every}, the last after step {last:,}"
    shown = [f"{step:,}" for step in (steps if len(steps) <= 8 else [*steps[:6], steps[-1]])]
    gap = " ... " if len(steps) > 8 else ", "
    return f"{number}, after steps {', '.join(shown[:-1])}{gap}{shown[-1]}"


def _compute(plan: Plan) -> Iterator[Row]:
    compute, length = plan.compute, plan.length
    if compute.per_position is not None:
        share = compute.attention / compute.per_position
        formula, rest, sources = "6 N", "", "arXiv:2001.08361"
        if share:
            formula, sources = "6 N + 12 L D T", "arXiv:2001.08361, 2204.02311"
            rest = f", attention {share:.0%}"
        yield (
            "per token",
            f"{_operations(compute.per_position)} = {formula}, N = "
            f"{plan.parameters.multiplied:,} weights that multiply{rest} ({sources})",
        )
    elif compute.counted_per_example is not None:
        yield (
            "per example",
            f"{_operations(compute.counted_per_example)}, counted in the products of a step "
            "that was made",
        )
    known = compute.total
    yield "in all", "not known" if known is None else _operations(known)
    ratio = compute.tokens_per_parameter
    if ratio is not None:
        yield (
            "tokens",
            f"{ratio:,.3g} for each parameter; about {CHINCHILLA} make the most of a given number "
            "of operations (arXiv:2203.15556)",
        )
    if length.passes > 1:
        yield (
            "repeats",
            f"{length.passes:,.1f} passes; up to 4 are worth nearly as much as new data "
            "(arXiv:2305.16264)",
        )


def _operations(number: float) -> str:
    for power, unit in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M")):
        if number >= 10**power:
            return f"{number / 10**power:,.1f} {unit}FLOP"
    return f"{number / 1e3:,.1f} kFLOP"


def _memory(plan: Plan) -> Iterator[Row]:
    memory = plan.memory
    yield "device", f"{memory.device}, {memory.rows:,} examples in a forward pass"
    yield "weights", size_of_bytes(memory.weights)
    yield "gradients", size_of_bytes(memory.gradients)
    if memory.average:
        yield "average", f"{size_of_bytes(memory.average)}, of the weights"
    yield "optimizer state", _size(memory.optimizer)
    logits = f", {size_of_bytes(memory.logits)} of them logits" if memory.logits else ""
    yield "activations", _size(memory.activations) + logits
    if memory.peak is not None:
        yield "peak", f"{size_of_bytes(memory.peak)} of tensors, {_how(memory)}"
    if memory.growth is not None and memory.device != "cuda":
        yield (
            "process",
            f"{size_of_bytes(memory.process)} for libraries and data now, and about "
            f"{size_of_bytes(memory.growth)} more for the peak, with what the allocator wastes",
        )
    if memory.available is not None and memory.installed is not None:
        free, installed = size_of_bytes(memory.available), size_of_bytes(memory.installed)
        yield "free", f"{free} of {installed}"
    if plan.largest_batch is not None:
        yield "largest batch", _largest(plan.largest_batch, plan.length.examples_per_step)


def _largest(batch: LargestBatch, global_batch: int) -> str:
    found = f"{batch.rows:,} examples in a forward pass, {batch.how}"
    if not batch.dividing:
        return found
    passes = "one pass" if batch.passes == 1 else f"{batch.passes:,} passes of {batch.dividing:,}"
    return f"{found}; the global batch of {global_batch:,} fits into {passes}"


def _how(memory: Memory) -> str:
    if memory.tried_rows == memory.rows:
        return "as in a step that was made"
    each = (
        "" if memory.per_row is None else f", {size_of_bytes(round(memory.per_row))} for each row"
    )
    return f"from steps of up to {memory.tried_rows:,} rows{each}"


def _size(number: int | None) -> str:
    return "not known: the model does not fit" if number is None else size_of_bytes(number)


def _disk(plan: Plan) -> Iterator[Row]:
    disk = plan.disk
    without = "" if plan.memory.optimizer is not None else ", and the optimizer's state"
    yield "checkpoint", size_of_bytes(disk.checkpoint) + without
    yield "model", size_of_bytes(disk.model)
    parts = [_number(disk.kept, "checkpoint")] if disk.kept else []
    parts += [_number(disk.lean, "milestone")] if disk.lean else []
    parts += ["one being written"] if disk.extra else []
    parts += ["the final model" if disk.models == 1 else "the final model and its average"]
    yield "at most", f"{size_of_bytes(disk.in_all)} at a time: {', '.join(parts)}"
    if disk.present:
        yield "there", f"{size_of_bytes(disk.present)} of checkpoints"
    if disk.free is not None:
        yield "free", size_of_bytes(disk.free)


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _time(plan: Plan) -> Iterator[Row]:
    spent = plan.time
    if spent is None:
        fits = plan.memory.peak is not None
        remedy = "--measure trains for some seconds to estimate it"
        yield "not known", remedy if fits else "the model does not fit"
        return
    yield "in all", f"about {_duration(spent.in_all)}"
    length = plan.length
    unit, number = next(iter(length.per_step.items()), ("examples", length.examples_per_step))
    yield "  start", _duration(spent.start)
    yield (
        "  training",
        f"{_duration(spent.training)}: {spent.step * 1000:,.1f} ms a step, "
        f"{number / spent.step:,.0f} {unit} a second, measured on {spent.steps_measured} steps",
    )
    yield (
        "  evaluations",
        f"{_duration(spent.evaluations)}: {len(plan.schedule.evaluations):,} of "
        f"{spent.evaluation:,.2f} s",
    )
    yield "  checkpoints", f"{_duration(spent.checkpoints)}: {spent.checkpoint:,.2f} s each"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
