"""The steps of a run after which something is recorded, and what is left of it on the disk."""

from bisect import bisect_left
from collections.abc import Iterator

from model_foundry.config import TrainingConfig
from model_foundry.planning.figures import Length, Schedule
from model_foundry.training.milestones import marks_until, steps_of_first_epoch


def build_schedule(config: TrainingConfig, length: Length) -> Schedule:
    """Return the evaluations, checkpoints and milestones of a run.

    Checkpoints because of the time (`save_minutes`) are left out: they are deleted again.
    """
    saves = config.save_strategy != "no"
    found = {step for step in _milestones(config, length) if 0 < step <= length.steps}
    return Schedule(
        evaluations=due_steps(config.eval_steps, length.steps),
        checkpoints=due_steps(config.save_steps, length.steps) if saves else [],
        milestones=sorted(found) if saves else [],
        about=bool(config.milestones.words or config.milestones.tokens),
    )


def due_steps(every: int | None, total_steps: int) -> list[int]:
    """Return the steps after which something done every `every` steps, and at the end, is due."""
    steps = [] if every is None else list(range(every, total_steps + 1, every))
    return steps if steps and steps[-1] == total_steps else [*steps, total_steps]


def _milestones(config: TrainingConfig, length: Length) -> Iterator[int]:
    asked = config.milestones
    yield from asked.steps
    yield from steps_of_first_epoch(asked.first_epoch, length.first_epoch)
    if asked.logarithmic is not None:
        yield from (2**power for power in range((asked.logarithmic - 1).bit_length()))
        yield from range(asked.logarithmic, length.steps + 1, asked.logarithmic)
    for unit, marks in (("words", asked.words), ("tokens", asked.tokens)):
        per_step = length.per_step.get(unit, 0)

        def passed(step: int, per_step: float = per_step, marks: object = marks) -> int:
            return marks_until(marks, int((step + 1) * per_step))  # type: ignore[arg-type]

        for mark in range(1, marks_until(marks, length.in_all.get(unit, 0)) + 1):
            yield 1 + bisect_left(range(length.steps), mark, key=passed)


def kept_checkpoints(config: TrainingConfig, schedule: Schedule) -> tuple[int, int]:
    """Return how many checkpoints to resume from are left at the end, and how many lean
    milestones, of which only the model is."""
    due, milestones = set(schedule.checkpoints), set(schedule.milestones)
    if config.milestones.save_only_model:
        whole = len(due) if config.save_total_limit is None else config.save_total_limit
        whole = min(whole, len(due))
        newest = set(schedule.checkpoints[len(due) - whole :])
        return whole, len(milestones - newest)
    ordinary = len(due - milestones)
    limit = ordinary if config.save_total_limit is None else config.save_total_limit
    return min(ordinary, limit) + len(milestones), 0
