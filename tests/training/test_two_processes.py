"""Two processes of four rows make the same update as one process of eight, for every model.

With a carried state, they make the same three updates: each process has the lanes of its rows.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import MODELS
from tests.training.test_carried import KINDS

ROOT = Path(__file__).parents[2]
WORKER = """
import json, sys
from pathlib import Path
import torch
from accelerate import Accelerator
from model_foundry.config import OBJECTIVES
from model_foundry.model import create_model
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.carried import CarriedState
from model_foundry.training.step import take_step
from tests.experiments import MODELS
from tests.training.test_carried import BLOCKS, KINDS, T, config_of, shares_of, text
from tests.training.test_loop import ragged_batch, rows_of, without_dropout

torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
rank, world = accelerator.process_index, accelerator.num_processes
found = {}
for kind in sorted(MODELS):
    config = without_dropout(kind, Path(sys.argv[1]))
    with accelerator.main_process_first():  # the token cache is built once
        batch = ragged_batch(config, rows=8)
    share = slice(rank * 8 // world, (rank + 1) * 8 // world)
    model = create_model(config)
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config.training))
    result = take_step(
        model, optimizer, [rows_of(batch, share)],
        objective=OBJECTIVES.load(config.training.objective)(),
        learning_rate=0.01, max_grad_norm=1.0, accelerator=accelerator, step=0,
    )
    labels = accelerator.reduce(torch.tensor(sum(result.labels)), "sum").item()
    weights = sum(p.detach().double().abs().sum().item() for p in model.parameters())
    found[kind] = [result.loss, result.grad_norm, labels, weights]
for kind in KINDS:
    config = config_of(kind)
    model = create_model(config).double()
    carried = CarriedState(model, micro_batches=2, rows=4 // world)
    batches = shares_of(text(T * BLOCKS), 4 // world, process=rank, processes=world)
    wrapped, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    losses = [
        take_step(
            wrapped, optimizer, [next(batches), next(batches)],
            objective=OBJECTIVES.load("causal_lm")(), learning_rate=0.5, max_grad_norm=None,
            accelerator=accelerator, step=step, carried=carried,
        ).loss
        for step in range(6)
    ]
    states = [accelerator.reduce(t.abs().sum()).item() for t in carried.tensors().values()]
    weights = sum(p.detach().abs().sum().item() for p in model.parameters())
    found[f"{kind} with its state"] = [*losses, *states, weights]
if rank == 0:
    Path(sys.argv[2]).write_text(json.dumps(found))
"""


def measure(processes: int, directory: Path) -> dict[str, list[float]]:
    worker, output = directory / "worker.py", directory / f"{processes}.json"
    worker.write_text(WORKER)
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(worker), str(directory), str(output)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[float]] = json.loads(output.read_text())
    return found


def test_two_processes_make_the_update_of_one(tmp_path: Path) -> None:
    alone, together = measure(1, tmp_path), measure(2, tmp_path)
    assert sorted(alone) == sorted([*MODELS, *(f"{kind} with its state" for kind in KINDS)])
    for kind, expected in alone.items():
        assert together[kind] == pytest.approx(expected, rel=1e-4), kind
