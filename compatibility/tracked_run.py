"""Train a tiny run with a tracker, which a fault may strike in step 9.

    python tracked_run.py TRACKER DIRECTORY kill|helper|none

`kill` ends this process by SIGKILL, once the tracker has the checkpoint of step 8; `helper` the
processes that it has started.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from model_foundry import train
from model_foundry.config import validate
from model_foundry.foundation.failpoints import watching

PATIENCE = 240.0  # seconds for a tracker to start


def experiment(tracker: str, directory: Path) -> dict[str, Any]:
    """Return a run of 12 steps with checkpoints and evaluations."""
    return {
        "experiment_name": "tracked",
        "output_dir": directory / "run",
        "data": {"train": {"language": {"sentences": 300}}, "max_sequence_length": 16},
        "tokenizer": {"tokenizer_type": "bpe", "vocab_size": 300},
        "model": {
            "architecture": "gpt2",
            "transformer": {"layers": 1, "hidden_size": 16, "attention_heads": 2},
        },
        "training": {
            "objective": "causal_lm",
            "max_steps": 12,
            "per_device_train_batch_size": 2,
            "logging_steps": 1,
            "save_steps": 4,
            "eval_steps": 4,
        },
        "tracking": {
            "trackers": [tracker],
            "histogram_steps": 4,
            "activations": True,
            "samples": {"prompts": ["The"], "max_new_tokens": 4},
        },
    }


def wait_for(tracker: str, record: Path) -> None:
    """Wait until a tracker has everything up to step 8."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if record.exists() and json.loads(record.read_text()).get(tracker, {}).get("step") == 8:
            time.sleep(1)  # and some of what came after
            return
        time.sleep(0.1)
    raise TimeoutError(f"{tracker} has not taken step 8")


def main() -> None:
    """Train."""
    tracker, directory, fault = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)

    def strike(point: str) -> None:
        if fault == "none" or not point.endswith("step 9 made"):
            return
        wait_for(tracker, directory / "run" / "trackers.json")
        children = psutil.Process().children(recursive=True) if fault == "helper" else []
        if fault == "helper" and not children:
            raise RuntimeError(f"{tracker} has no process of its own")
        for pid in [child.pid for child in children] or [os.getpid()]:
            os.kill(pid, signal.SIGKILL)

    with watching(strike):
        train(validate(experiment(tracker, directory), "tracked run"))


if __name__ == "__main__":
    main()
