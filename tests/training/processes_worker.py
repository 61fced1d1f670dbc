"""Figures of one or two processes for `test_two_processes`, which must agree."""

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.loaders import Batch, batch_digest
from model_foundry.errors import FoundryError
from model_foundry.experiment.measure_split import measure_split
from model_foundry.foundation.interrupts import handle_signals, stop_requested
from model_foundry.foundation.plugins import load_plugin
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.model import create_model
from model_foundry.objectives.measure import Metrics
from model_foundry.objectives.preparation import objective_of, prepare
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint.optimizer_loading import set_state
from model_foundry.training.checkpoint.sharded import ReplicatedState, ShardedState, is_sharded
from model_foundry.training.distributed import joined, start_accelerator
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult, rows_of_all
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.step import Learner
from model_foundry.training.step_batches import StepBatches
from tests.experiments import MODELS, OPTIMIZED, TOY
from tests.training.test_carried_state import BLOCKS, CARRIED, KINDS, T, config_of, shares_of, text
from tests.training.test_loop import ragged_batch, rows_of, without_dropout

ROWS = 8
Found = dict[str, Any]


class Together:
    """The processes, and where they work."""

    def __init__(self, processes: ProcessGroup, directory: Path) -> None:
        self.processes, self.directory = processes, directory

    def share(self, rows: int) -> slice:
        """Return which of the rows are those of this process."""
        index, number = self.processes.rank, self.processes.world_size
        return slice(index * rows // number, (index + 1) * rows // number)

    def batch(self, config: ExperimentConfig) -> Batch:
        """Return all rows of a step; the token cache is built once."""
        return self.processes.rank0_first(lambda: ragged_batch(config, rows=ROWS))

    def step(
        self,
        config: ExperimentConfig,
        model: nn.Module,
        micro_batches: list[Batch],
        *,
        optimizer: torch.optim.Optimizer | None = None,
        **settings: Any,
    ) -> StepResult:
        """Make an update as the loop does."""
        accelerator = start_accelerator(config.training, self.processes)
        objective = objective_of(config)
        drawing = StepBatches(
            iter(micro_batches),
            objective,
            micro_batches=len(micro_batches),
            processes=self.processes,
        )
        drawn = drawing.next()
        optimizer = optimizer or build_optimizer(model, config.training)
        model, optimizer = accelerator.prepare(model, optimizer)
        learner = Learner(
            model=model,
            optimizer=optimizer,
            objective=objective,
            accelerator=accelerator,
            guard=NonFiniteGuard(at_once=True, processes=self.processes),
            max_grad_norm=1.0,
            **settings,
        )
        return learner.take_step(drawn, step=0, learning_rate=0.01)


def size(model: nn.Module) -> float:
    return sum(p.detach().double().abs().sum().item() for p in model.parameters())


def updates(here: Together) -> Iterator[tuple[str, list[float]]]:
    """The update of every kind of model."""
    for kind in sorted(MODELS):
        config = without_dropout(kind, here.directory)
        batch, model = here.batch(config), create_model(config)
        result = here.step(config, model, [rows_of(batch, here.share(ROWS))])
        yield kind, [result.loss, result.grad_norm, size(model)]


def updates_of_two_losses(here: Together) -> Iterator[tuple[str, list[float]]]:
    """The update by a weighted sum of losses, and each of them; and metrics of the batches."""
    losses = "training.losses={model: 1.0, z_loss: 0.01}"
    for kind in ("gpt2", "bert"):
        config = without_dropout(kind, here.directory, losses)
        batch, model = here.batch(config), create_model(config)
        metrics = Metrics(objective_of(config), ["loss", "perplexity", "accuracy"])
        own = rows_of(batch, here.share(ROWS))
        thirds = [rows_of(own, slice(0, 1)), rows_of(own, slice(1, None))]
        result = here.step(config, model, thirds, metrics=metrics)
        figures = metrics.figures(here.processes)
        assert figures["loss/z_loss"] > 1
        parts = [float(result.parts[name]) for name in ("model", "z_loss")]
        found = [figures[name] for name in sorted(figures)]
        yield f"{kind}, two losses", [result.loss, *parts, result.grad_norm, size(model), *found]


def unlabelled(batch: Batch) -> Batch:
    labels = torch.full_like(batch.inputs["labels"], -100)
    return replace(batch, inputs={**batch.inputs, "labels": labels})


def updates_without_labels(here: Together) -> Iterator[tuple[str, list[float]]]:
    """The same where rows at the end have no label: all of the last process, or its last ones."""
    for name, first in (("no label in the last half", 4), ("no label in the last quarter", 6)):
        for kind in ("gpt2", "bert"):
            config = without_dropout(kind, here.directory)
            batch, model = here.batch(config), create_model(config)
            pairs = [rows_of(batch, slice(i, i + 2)) for i in range(0, ROWS, 2)]
            kept = [p if 2 * i < first else unlabelled(p) for i, p in enumerate(pairs)]
            result = here.step(config, model, kept[here.share(len(kept))])
            yield f"{kind}, {name}", [result.loss, result.grad_norm, size(model)]


def carried_states(here: Together) -> Iterator[tuple[str, list[float]]]:
    """Updates of models that carry their states, these, and what comes of them elsewhere."""
    number = here.processes.world_size
    for kind in KINDS:
        config = config_of(kind)
        model = create_model(config).double()
        settings = {"micro_batches": 2, "rows": 4 // number, "processes": here.processes}
        carried = CarriedState(model, **settings)
        batches = shares_of(
            text(T * BLOCKS), 4 // number, rank=here.processes.rank, world_size=number
        )
        optimizer = torch.optim.SGD(model.parameters())
        losses = []
        for _ in range(6):
            share = [next(batches), next(batches)]
            result = here.step(config, model, share, optimizer=optimizer, carried=carried)
            losses.append(result.loss)
        states = carried.tensors()
        other = CarriedState(model, **(settings | {"micro_batches": 4, "rows": 2 // number}))
        other.restore(states)
        same = [torch.equal(tensor, other.tensors()[name]) for name, tensor in states.items()]
        rows = [x for _, t in sorted(states.items()) for x in t.abs().flatten(1).sum(1).tolist()]
        yield f"{kind} with its state", [*losses, *rows, *map(float, same), size(model)]


def digests(here: Together) -> Iterator[tuple[str, str]]:
    """The digest of all rows of a step."""
    batch = here.batch(without_dropout("gpt2", here.directory))
    own = rows_of(batch, here.share(ROWS))
    yield "digest", batch_digest(rows_of_all([own], here.processes))


def evaluations(here: Together) -> Iterator[tuple[str, list[float]]]:
    """The loss on a text, whose batches or lanes the processes divide."""
    metrics = "training.metrics=[loss, perplexity, bits_per_byte, accuracy]"
    for kind, overrides in (("gpt2", ()), ("bert", ()), ("lstm", CARRIED)):
        config = without_dropout(kind, here.directory, metrics, *overrides)
        prepared = here.processes.rank0_first(lambda config=config: prepare(config))
        model = create_model(config, tokenizer=prepared.tokenizer)
        found = measure_split(config, prepared, prepared.validation, model, here.processes)
        alone = measure_split(config, prepared, prepared.validation, model)
        assert found["tokens"] == alone["tokens"]
        yield f"{kind} measured", [found[name] for name in sorted(found)]


def faults(here: Together) -> Iterator[tuple[str, list[str]]]:
    """The error of every process after a fault in the last one alone."""
    config = without_dropout("gpt2", here.directory)
    batch = rows_of(here.batch(config), here.share(ROWS))
    last = here.processes.rank == here.processes.world_size - 1

    def error_of(batches: Iterator[Batch], **settings: Any) -> list[str]:
        try:
            if settings.pop("signalled", False):
                os.kill(os.getpid(), signal.SIGTERM)
                while stop_requested() is None:
                    pass
            StepBatches(
                batches,
                objective_of(config),
                micro_batches=1,
                processes=here.processes,
            ).next()
        except FoundryError as error:
            return here.processes.all_gather(type(error).__name__)
        raise AssertionError("no error")

    def dying() -> Iterator[Batch]:
        raise RuntimeError("DataLoader worker (pid 7) is killed")
        yield batch

    yield "a dead worker", error_of(dying() if last else iter([batch]))
    config = without_dropout("lstm", here.directory)  # whose embedding is not its output as well
    model = create_model(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[7].fill_(torch.nan)
    ids = torch.full_like(batch.inputs["input_ids"], 7 if last else 6)
    spoilt = replace(batch, inputs={**batch.inputs, "input_ids": ids})
    try:
        here.step(config, model, [spoilt])
    except FoundryError as error:
        facts = error.facts  # type: ignore[attr-defined]
        name = f"{type(error).__name__} on {len(facts['examples'])} examples"
        yield "a loss that is not finite", here.processes.all_gather(name)
    with handle_signals():
        yield "a signal", error_of(iter([batch]), signalled=last)


SHARDED = (
    *(("gpt2", "adamw"), ("bert", "adamw"), ("lstm", "adamw")),
    *(("gpt2", "sgd"), ("gpt2", "momentum"), ("gpt2", "toy")),
    *(("gpt2", "muon"), ("lstm", "muon"), ("gpt2", "adam"), ("gpt2", "adamax"), ("gpt2", "nadam")),
    *(("gpt2", "radam"), ("gpt2", "rmsprop"), ("gpt2", "adadelta")),
)


def divided_models(here: Together) -> Iterator[tuple[str, Any]]:
    """Models whose weights are divided, put together, given to a fresh model, and trained on."""
    load_plugin(TOY)
    for kind, optimizer in SHARDED:
        name = f"{kind} with {optimizer}"
        own, *_ = OPTIMIZED.get(optimizer, ((f"training.optimizer={optimizer}",),))
        config = without_dropout(kind, here.directory, *own)
        batch = rows_of(here.batch(config), slice(0, 2))
        labels = batch.inputs["input_ids"]  # as many in each row
        inputs = {"input_ids": labels, "labels": labels}
        share = {name: t[here.share(2)] for name, t in inputs.items()}
        learner = Trained(config, here.processes)
        losses = [learner.update(share) for _ in range(4)]
        weights, moments = learner.kept()
        resumed = Trained(config, here.processes)
        resumed.restore(weights, moments)
        for one in (learner, resumed):
            losses.append(one.update(share))
        (again, _), (still, _) = resumed.kept(), learner.kept()
        yield f"{name} resumed", all(torch.equal(still[n], t) for n, t in again.items())
        sizes = [t.double().abs().sum().item() for d in (weights, again) for t in d.values()]
        sizes += [
            float(torch.as_tensor(v).double().abs().sum())
            for v in moments.values()
            if v is not None
        ]
        losses = [sum(here.processes.all_gather(x)) / here.processes.world_size for x in losses]
        yield f"{name} divided", [*losses, *here.processes.all_gather(sizes)[0]]
        if optimizer == "adamw":
            resumed.leave_out_updates()
            resumed.update(share)
            left, _ = resumed.kept()
            yield f"{name} left as it was", all(torch.equal(left[n], t) for n, t in again.items())


class Trained:
    """A model and its optimizer, divided where there are several processes."""

    def __init__(self, config: ExperimentConfig, processes: ProcessGroup) -> None:
        self.config, self.model = config, create_model(config).eval()
        self.is_main = processes.is_rank0
        self.whole = ReplicatedState()
        if processes.world_size > 1:
            config.training.distributed.strategy = "fsdp2"
            self.whole = ShardedState(self.model, processes, self.make_optimizer)
            for module in self.model.modules():
                if type(module).__name__ in ("GPT2Block", "BertLayer"):
                    fully_shard(module)
            fully_shard(self.model)
            assert is_sharded(self.model)
        self.optimizer = self.make_optimizer(self.model)

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(model, self.config.training)

    def update(self, inputs: dict[str, torch.Tensor]) -> float:
        loss: torch.Tensor = self.model(**inputs).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def leave_out_updates(self) -> None:
        """Record a loss that is not finite, as on a GPU."""
        guard = NonFiniteGuard(at_once=False)
        guard.enable_skipping(self.optimizer, torch.device("cpu"))
        result = StepResult(torch.tensor(torch.nan), torch.tensor(0.0))
        guard.record(1, result, [], 0.0)

    def kept(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the whole weights and optimizer state in main, and nothing in the others."""
        whole = self.whole.gather_model(self.model)
        state = self.whole.gather_optimizer(self.model, self.optimizer)
        if not self.is_main:
            return {}, {}
        return sorted_copy(whole.state_dict()), sorted_copy(state().values)

    def restore(self, weights: dict[str, Any], moments: dict[str, Any]) -> None:
        def load(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            model.load_state_dict(weights)
            set_state(model, optimizer, moments, {}, lambda key, value, _: value.clone())

        self.whole.restore(load, self.model, self.optimizer)


def sorted_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(values[name]) for name in sorted(values)}


SCENARIOS: tuple[Callable[[Together], Iterator[tuple[str, Any]]], ...] = (
    updates,
    updates_of_two_losses,
    updates_without_labels,
    carried_states,
    digests,
    evaluations,
    divided_models,
    faults,
)


def write_figures(directory: Path, output: Path) -> None:
    """Run all scenarios as one of several processes; rank 0 writes the figures."""
    found: Found = {}
    config = without_dropout("gpt2", directory)
    with joined(config.training) as processes:
        here = Together(processes, directory)
        for scenario in SCENARIOS:
            found |= dict(scenario(here))
        if processes.is_rank0:
            output.write_text(json.dumps(found))
