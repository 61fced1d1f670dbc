"""Cost of safe checkpoints: saving against a plain `torch.save`, and resuming at a late step.

    python -m benchmarks.checkpoint [configs/FILE.yaml]

Ratios within one process; the absolute times depend on the disk.
"""

import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from model_foundry import create_model, load_config
from model_foundry.data.batches.loaders import training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.experiment.resume import make_fingerprint
from model_foundry.foundation.random_state import random_states
from model_foundry.objectives.preparation import prepare
from model_foundry.training.checkpoint.choice import newest_usable
from model_foundry.training.checkpoint.save_load import (
    ResumeTensors,
    optimizer_tensors,
    pack_random_states,
    save_checkpoint,
)
from model_foundry.training.checkpoint.state_file import STATE_FORMAT, CheckpointState, Counters
from model_foundry.training.distributed import device_type, start_accelerator
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.state import TrainState

ROUNDS = 7
POSITIONS = (0, 10, 10_000_000)


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "configs/quickstart.yaml"
    config = load_config(path)
    config, _ = resolve_auto_settings(config, device_type=device_type())
    accelerator = start_accelerator(config.training)
    prepared = prepare(config)
    fingerprint = make_fingerprint(config, prepared, accelerator.device)
    model = create_model(config, tokenizer=prepared.tokenizer)
    optimizer = build_optimizer(model, config.training)
    model.get_input_embeddings()(torch.tensor([1])).sum().backward()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    plain, safe, found = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)

        def save_plainly() -> None:
            content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(content, place / "plain.pt")

        def save_safely(directory: Path, step: int) -> None:
            random, values = pack_random_states([random_states()])
            state = TrainState(step=step, examples_seen=step * fingerprint.examples_per_step)
            facts = CheckpointState(
                format=STATE_FORMAT,
                run_id=uuid.uuid4().hex,
                attempt=1,
                milestone=False,
                counters=Counters.model_validate(state),
                identity=fingerprint,
                random=values[0],
                scaler=None,
            )
            moments = optimizer_tensors(model, optimizer)
            tensors = ResumeTensors(optimizer=moments, random=random)
            save_checkpoint(directory, model, prepared.processors, facts, tensors)

        for step in range(1, ROUNDS + 1):
            plain.append(seconds(save_plainly))
            safe.append(seconds(partial(save_safely, place / f"step-{step:08d}", step)))
            found.append(seconds(lambda: newest_usable(place, run_id=None)))
        size = sum(f.stat().st_size for f in (place / "step-00000001").iterdir())
    print(f"checkpoint of {size / 1e6:.1f} MB, {model.get_parameter_count():,} parameters")
    for name, times in (("torch.save", plain), ("checkpoint", safe), ("found, verified", found)):
        ratio = statistics.median(times) / statistics.median(plain)
        print(f"{name:16} {1000 * statistics.median(times):8.1f} ms  x {ratio:.2f}")
    share = BatchSplit(micro_batch=8, rows_per_step=8)
    for position in POSITIONS:
        first = []
        for _ in range(ROUNDS):
            batches = training_batches(
                prepared.train, prepared.collate, share, seed=1, start=position
            )
            first.append(seconds(lambda batches=batches: next(batches)))
        first_batch = 1000 * statistics.median(first)
        print(f"first batch after {position:>10,} examples {first_batch:8.2f} ms")


if __name__ == "__main__":
    main()
