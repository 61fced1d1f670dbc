"""TensorBoard reads what was logged, over a kill and a resume, and nothing twice."""

from pathlib import Path

import numpy as np
import pytest

from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, Fault, in_child, striking
from tests.experiments import tiny_experiment

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")

SETTINGS = (
    "tracking.trackers=[tensorboard]",
    "tracking.histogram_steps=3",
    "tracking.samples={prompts: [The], max_new_tokens: 4}",
    "training.eval_steps=2",
    "training.save_steps=4",
)


def attempt(directory: Path) -> None:
    """Die in step 5, after the checkpoint and the evaluation of step 4; the next attempt ends."""
    fault = None if (directory / "run").exists() else Fault("step 5 made")
    with watching(striking(fault)):
        train(tiny_experiment("gpt2", directory, *SETTINGS))


@pytest.mark.slow
def test_tensorboard_shows_the_log(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    in_child(attempt, tmp_path, code=KILLED)
    in_child(attempt, tmp_path, code=0)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), {SCALARS: 0}).Reload()
    shown = [
        (name, event.step, event.value)
        for name in events.Tags()["scalars"]
        for event in events.Scalars(name)
    ]
    logged = [
        (name, line["step"], float(np.float32(value)))
        for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
        for name, value in line.items()
        if "/" in name and not isinstance(value, str)
    ]
    assert sorted(shown) == sorted(logged)
    assert "samples/0/text_summary" in events.Tags()["tensors"]
    name = "weights/hf_model.transformer.wpe.weight"
    found = [event for event in events.Histograms(name) if event.step == 6]
    assert [event.histogram_value.num for event in found] == [16 * 32]
    assert sum(found[0].histogram_value.bucket) == 16 * 32
