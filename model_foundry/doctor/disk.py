"""The check that the checkpoints of an experiment fit on its disk."""

import math
import os
import shutil
import time

from model_foundry.doctor.small_experiment import STEPS, SmallExperiment
from model_foundry.experiment.run_length import total_steps
from model_foundry.training.milestones import number_of_milestones


def disk(trial: SmallExperiment) -> tuple[bool, str]:
    """Check that the checkpoints of the experiment fit on the disk."""
    checkpoint = trial.whole_run.checkpoint(STEPS)
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    probe = trial.directory / "probe"
    start = time.perf_counter()
    with probe.open("wb") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
    speed = size / (time.perf_counter() - start)
    free, number = shutil.disk_usage(trial.directory).free, _checkpoints(trial)
    figure = (
        f"{number} x {size / 1e6:,.1f} MB of checkpoints, {free / 1e9:,.1f} GB free; "
        f"written at {speed / 1e6:,.0f} MB/s"
    )
    return number * size < free, figure


def _checkpoints(trial: SmallExperiment) -> int:
    """Return the largest number of checkpoints that the experiment keeps at a time."""
    training, data, stream = trial.asked.training, trial.asked.data, trial.text.stream
    length = data.content_tokens or data.max_sequence_length
    examples = max(1, len(stream) // length)
    steps = total_steps(trial.asked, examples=examples)
    tokens = steps * training.rows_per_step * length
    milestones = number_of_milestones(
        training.milestones,
        steps=steps,
        words=tokens * stream.words // len(stream),
        tokens=tokens,
        steps_per_epoch=math.ceil(examples / training.rows_per_step),
    )
    saved = math.ceil(steps / (training.save_steps or steps))
    # one more than the limit: the next one is complete before another is deleted
    return min(saved, (training.save_total_limit or saved) + 1) + milestones
