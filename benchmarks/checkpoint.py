"""Cost of safe checkpoints: saving against a plain `torch.save`, and resuming at a late step.

    python -m benchmarks.checkpoint [configs/FILE.yaml]

Ratios within one process; the absolute times depend on the disk.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from model_foundry import load_config
from model_foundry.data.batches.loaders import training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.experiment.auto_settings import settle
from model_foundry.objectives.preparation import prepare
from model_foundry.planning.setup import Setup
from model_foundry.planning.timing import write_checkpoint
from model_foundry.training.checkpoint.choice import newest_usable
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.state import TrainState

ROUNDS = 7
POSITIONS = (0, 1, 1_000_000)  # steps


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    config, _ = settle(load_config(sys.argv[1] if len(sys.argv) > 1 else "configs/quickstart.yaml"))
    setup = Setup(config, prepare(config), start_accelerator(config.training))
    model = setup.new_model()
    optimizer = build_optimizer(model, config.training)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    plain, safe, found = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)

        def save_plainly() -> None:
            content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(content, place / "plain.pt")

        for step in range(1, ROUNDS + 1):
            plain.append(seconds(save_plainly))
            state = TrainState(step=step, examples_seen=step * config.training.rows_per_step)
            written = place / f"step-{step:08d}"
            safe.append(seconds(partial(write_checkpoint, setup, model, optimizer, state, written)))
            found.append(seconds(lambda: newest_usable(place, run_id=None)))
        size = sum(f.stat().st_size for f in (place / "step-00000001").iterdir())
    print(f"checkpoint of {size / 1e6:.1f} MB, {model.get_parameter_count():,} parameters")
    for name, times in (("torch.save", plain), ("checkpoint", safe), ("found, verified", found)):
        ratio = statistics.median(times) / statistics.median(plain)
        print(f"{name:16} {1000 * statistics.median(times):8.1f} ms  x {ratio:.2f}")
    rows = config.training.rows_per_step
    share, data = BatchSplit(micro_batch=rows, rows_per_step=rows), setup.prepared
    for position in POSITIONS:
        first = []
        for _ in range(ROUNDS):
            steps = range(position, position + 1)
            batches = training_batches(data.train, data.collate, share, seed=1, steps=steps)
            first.append(seconds(partial(next, batches)))
        print(f"first batch after {position:>9,} steps {1000 * statistics.median(first):8.2f} ms")


if __name__ == "__main__":
    main()
