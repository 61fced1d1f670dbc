"""Our own step and nothing else: model, backward pass, clipping, update.

No loop, no data path, no log, no checks: a few batches in memory are read over and over. The
process is set up as the command line sets it up.
"""

from itertools import count, islice
from typing import Any

import torch

from benchmarks.contenders.work import Work
from model_foundry.cli.process import set_up_process
from model_foundry.config import load_config
from model_foundry.data.batches.loaders import training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.model import create_model
from model_foundry.objectives.preparation import prepare
from model_foundry.training.optimizer import build_optimizer

BATCHES = 8


def run(work: Work) -> None:
    """Train without end."""
    config = load_config(work.directory / "experiment.yaml")
    set_up_process(config.training.speed)
    config, _ = resolve_auto_settings(config, device_type=work.device.type)
    prepared = prepare(config)
    micro_batch = config.training.per_device_train_batch_size
    batches = training_batches(
        prepared.train,
        prepared.collate,
        BatchSplit(micro_batch=micro_batch, rows_per_step=micro_batch),
        seed=0,
    )
    ready = [
        {name: tensor.to(work.device) for name, tensor in batch.inputs.items()}
        for batch in islice(batches, BATCHES)
    ]
    model = create_model(config, tokenizer=prepared.tokenizer).to(work.device)
    if config.training.compile is True:
        model.compile_for_training()
    alone = model.computes_loss_alone and config.training.speed.loss_without_logits
    options: dict[str, Any] = {"return_logits": False} if alone else {}
    optimizer = build_optimizer(model, config.training)
    autocast = torch.autocast(
        work.device.type,
        dtype=torch.bfloat16,
        enabled=config.training.mixed_precision == "bf16",
    )
    model.train()
    for step in count(1):
        with autocast:
            loss = model(**ready[step % BATCHES], **options).loss
        assert loss is not None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % work.shape.steps == 0:
            work.tick(step, loss)
