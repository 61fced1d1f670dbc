"""State that is carried along streams: exactly the past of each row, and nothing of another."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_foundry import train
from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.data.batches.loaders import Batch, evaluation_streams, training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.data.batches.token_examples import Blocks
from model_foundry.data_collators import CausalLMDataCollator
from model_foundry.errors import ConfigError
from model_foundry.model import create_model
from model_foundry.objectives import CausalLM
from model_foundry.objectives.measure import measure
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult
from model_foundry.training.step import Learner
from model_foundry.training.step_batches import StepBatch
from tests.data.streams import collating, stream_of
from tests.experiments import MODELS, tiny_experiment

KINDS = ["gru", "lstm", "min_gru", "min_lstm", "rnn"]
CARRIED = (
    "data.packing=streams",
    "training.carry_state=true",
    "training.mixed_precision=no",
    "model.rnn.dropout=0.0",
)
COLLATE = collating(CausalLMDataCollator(TokenizerFactory.train_character(documents=["abc"])))
T, ROWS, BLOCKS = 5, 8, 33  # four blocks a lane, and one left over


def text(tokens: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(5, 300, tokens))


def blocks_of(tokens: Tensor, *, keep_rest: bool = False) -> Blocks:
    return Blocks(stream_of(tokens.numpy(), 1, 1), content=T, keep_rest=keep_rest, following=True)


def shares_of(tokens: Tensor, micro_batch: int, **rank: int) -> Iterator[Batch]:
    """Yield the micro-batches of one process."""
    return training_batches(
        blocks_of(tokens),
        COLLATE,
        BatchSplit(micro_batch=micro_batch, rows_per_step=ROWS, **rank),
        seed=1,
        streams=True,
    )


def batches_of(tokens: Tensor, *, micro_batch: int = ROWS) -> Iterator[Batch]:
    return shares_of(tokens, micro_batch)


def config_of(kind: str, *overrides: str) -> ExperimentConfig:
    return tiny_experiment(kind, Path("nowhere"), *CARRIED, *overrides)


def stepped(
    kind: str, batches: Iterator[Batch], *, steps: int, accumulation: int = 1, **settings: Any
) -> tuple[BaseLanguageModel, list[StepResult], CarriedState]:
    """Take steps of plain gradient descent with a fresh model that carries its state."""
    config = config_of(kind)
    model = create_model(config).double()
    accelerator = start_accelerator(config.training)
    carried = CarriedState(model, micro_batches=accumulation, rows=ROWS // accumulation)
    wrapped, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    learner = Learner(
        model=wrapped,
        optimizer=optimizer,
        objective=CausalLM(config),
        accelerator=accelerator,
        guard=NonFiniteGuard(at_once=True),
        carried=carried,
        **settings,
    )
    results = []
    for step in range(steps):
        batch = StepBatch.of(list(islice(batches, accumulation)), learner.objective)
        results.append(learner.take_step(batch, step=step, learning_rate=0.5))
    return model, results, carried


def weights_of(model: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters()]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for ours, theirs in zip(weights_of(one), weights_of(other), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


# --- what is carried ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_with_their_state_cost_what_the_text_costs_in_one_piece(kind: str) -> None:
    tokens = text(T * BLOCKS)
    model = create_model(config_of(kind)).double().eval()
    carried = CarriedState(model, micro_batches=1, rows=ROWS)
    nats = torch.zeros(())
    with torch.no_grad():
        for batch in islice(batches_of(tokens), BLOCKS // ROWS):
            output = model(**batch.inputs, **carried.arguments(0, batch))
            carried.keep(0, output)
            nats = nats + output.loss * (batch.inputs["labels"][:, 1:] != -100).sum()
        length = T * (BLOCKS // ROWS)
        lanes = tokens[: length * ROWS].view(ROWS, length)
        targets = tokens[1 : 1 + length * ROWS].view(ROWS, length)
        logits = model(lanes).logits
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(nats.double(), expected, rtol=1e-6, atol=0)


def by_hand(kind: str, tokens: Tensor, *, steps: int, carry: bool = True) -> BaseLanguageModel:
    """Truncated backpropagation through time with torch's own modules alone."""
    model = create_model(config_of(kind)).double()
    network = model.hf_model.recurrent
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    length = T * (BLOCKS // ROWS)
    lanes = [tokens[row * length : (row + 1) * length + 1] for row in range(ROWS)]
    states: list[Any] = [None, None]
    for step in range(steps):
        place = step * T % length
        if place == 0 or not carry:
            states = [None, None]
        read = torch.stack([lane[place : place + T] for lane in lanes])
        x = network.embed(read) * network.config.embedding_scale
        for index, layer in enumerate(network.layers):
            x, state = layer.rnn(x, states[index])
            whole = state if isinstance(state, tuple) else (state,)
            cut = tuple(part.detach() for part in whole)
            states[index] = cut if isinstance(state, tuple) else cut[0]
        logits = model.hf_model.lm_head(model.hf_model.projection(x))
        targets = torch.stack([lane[place + 1 : place + T + 1] for lane in lanes])
        optimizer.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_truncated_backpropagation_by_hand(kind: str) -> None:
    """Six steps: one pass of four, and two of the next, whose lanes begin without a past."""
    tokens = text(T * BLOCKS)
    model, _, _ = stepped(kind, batches_of(tokens), steps=6)
    assert_same_weights(model, by_hand(kind, tokens, steps=6))
    with pytest.raises(AssertionError):
        assert_same_weights(model, by_hand(kind, tokens, steps=6, carry=False))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulation", [2, 4, 8])
def test_steps_do_not_depend_on_how_they_are_cut(kind: str, accumulation: int) -> None:
    tokens = text(T * BLOCKS)
    whole, expected, _ = stepped(kind, batches_of(tokens), steps=6)
    cut = batches_of(tokens, micro_batch=ROWS // accumulation)
    parts, results, _ = stepped(kind, cut, steps=6, accumulation=accumulation)
    assert [r.loss for r in results] == pytest.approx([r.loss for r in expected], rel=1e-6)
    assert_same_weights(whole, parts)


def test_a_micro_batch_without_a_label_is_read_for_what_comes_after_it() -> None:
    def batches(*, labelled: bool) -> Iterator[Batch]:
        for batch in batches_of(text(T * BLOCKS), micro_batch=4):
            keep = labelled or not batch.begins
            labels = batch.inputs["labels"] if keep else batch.inputs["labels"].fill_(-100)
            yield replace(batch, inputs=batch.inputs | {"labels": labels})

    model, (first, second), _ = stepped("gru", batches(labelled=False), steps=2, accumulation=2)
    assert first.loss == 0.0 < second.loss
    begun, _, state = stepped("gru", batches(labelled=True), steps=1, accumulation=2)
    fresh = create_model(config_of("gru")).double()
    assert not torch.equal(weights_of(begun)[0], weights_of(fresh)[0])
    with torch.no_grad():  # the weights were still those of the beginning
        loss = sum(
            fresh(**b.inputs, **state.arguments(slot, b)).loss
            for slot, b in enumerate(islice(batches(labelled=True), 2, 4))
        )
    assert second.loss == pytest.approx(float(loss) / 2, rel=1e-6)
    assert not torch.equal(weights_of(model)[0], weights_of(fresh)[0])


def test_no_state_flows_from_one_row_into_another() -> None:
    tokens = text(T * BLOCKS)
    other = tokens.clone()
    other[:T] = other[:T].flip(0)  # the first block of the first lane alone
    states = [stepped("lstm", batches_of(t), steps=0)[2] for t in (tokens, other)]
    for state, read in zip(states, (tokens, other), strict=True):
        for batch in islice(batches_of(read), 2):
            with torch.no_grad():
                state.keep(0, state.model(**batch.inputs, **state.arguments(0, batch)))
    one, two = (state.tensors() for state in states)
    for name, tensor in one.items():
        assert not torch.equal(tensor[0], two[name][0])
        assert torch.equal(tensor[1:], two[name][1:])


# --- kept and given back --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulation", [1, 2, 8])
def test_states_are_restored_into_micro_batches_of_any_size(kind: str, accumulation: int) -> None:
    tokens = text(T * BLOCKS)
    model, _, kept = stepped(kind, batches_of(tokens, micro_batch=2), steps=2, accumulation=4)
    saved = {name: tensor.clone() for name, tensor in kept.tensors().items()}
    assert {len(tensor) for tensor in saved.values()} == {ROWS}
    restored = CarriedState(model, micro_batches=accumulation, rows=ROWS // accumulation)
    restored.restore(saved)
    assert all(torch.equal(restored.tensors()[name], tensor) for name, tensor in saved.items())
    cut = list(islice(batches_of(tokens, micro_batch=ROWS // accumulation), 3 * accumulation))
    (whole,) = islice(batches_of(tokens), 2, 3)
    with torch.no_grad():
        kept.restore(saved)
        pieces = [
            model(**batch.inputs, **restored.arguments(slot, batch)).logits
            for slot, batch in enumerate(cut[2 * accumulation :])
        ]
        past = model.state_from(saved)
        expected = model(**whole.inputs, use_cache=True, past_key_values=past).logits
    torch.testing.assert_close(torch.cat(pieces), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("0.cell"),
        lambda tensors: tensors.update({"2.hidden": tensors["0.hidden"]}),
        lambda tensors: tensors.update({"0.hidden": tensors["0.hidden"][:, :5]}),
        lambda tensors: tensors.update({"0.hidden": tensors["0.hidden"][:5]}),
        lambda tensors: tensors.update({n: t[:5] for n, t in tensors.items()}),
        lambda tensors: tensors.clear(),
    ],
    ids=["one too few", "one too many", "another width", "mixed rows", "fewer rows", "none"],
)
def test_states_of_something_else_are_refused(change: Any) -> None:
    _, _, kept = stepped("lstm", batches_of(text(T * BLOCKS)), steps=1)
    tensors = kept.tensors()
    change(tensors)
    with pytest.raises(ValueError, match=r"the state of this lstm is|states of \[5(, 8)?\] rows"):
        kept.restore(tensors)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_model_carries_a_state_if_its_spec_does(kind: str) -> None:
    config = tiny_experiment(kind, Path("nowhere"))
    spec = ARCHITECTURES[config.model.architecture]
    expected = "carry_state" in spec.settings and spec.causal_with(config.model.section)
    assert create_model(config).carries_state is expected


def test_a_model_without_a_state_is_refused() -> None:
    model = create_model(tiny_experiment("gpt2", Path("nowhere")))
    with pytest.raises(ConfigError, match=r"training\.carry_state \(=true\) is not supported by"):
        CarriedState(model, micro_batches=1, rows=1)


# --- what it is good for --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [3, 9, 33, 34])
def test_held_out_text_costs_what_its_lanes_cost_in_one_piece(kind: str, blocks: int) -> None:
    tokens = text(T * blocks - 2)  # the last block is shorter
    cut = blocks_of(tokens, keep_rest=True)
    model = create_model(config_of(kind)).double()
    batches = list(evaluation_streams(cut, COLLATE))
    found = measure(model, batches, CausalLM(config_of(kind)), carry_state=True)
    starts = [key[1] * T for key in batches[0].keys]
    nats, model = 0.0, model.eval()
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        with torch.no_grad():
            logits = model(tokens[None, start:end]).logits[0]
        targets = tokens[start + 1 : end + 1]
        nats += float(F.cross_entropy(logits[: len(targets)], targets, reduction="sum"))
    assert found["tokens"] == len(tokens) - 1
    assert found["loss"] == pytest.approx(nats / found["tokens"], rel=1e-6)


def repeating(directory: Path) -> tuple[str, ...]:
    """Write documents whose second half repeats their first; return the settings to learn them.

    A document has a start, two random letters, the same once more, and its end: six tokens, in
    blocks of three, so that no block holds a letter and its repetition.
    """
    draw = random.Random(0)
    for name, documents in (("train.txt", 2000), ("held-out.txt", 200)):
        halves = ("".join(draw.choices("abcd", k=2)) for _ in range(documents))
        (directory / name).write_text("".join(f"{half}{half}\n" for half in halves))
    return (
        f"data.train={directory / 'train.txt'}",
        f"data.validation={directory / 'held-out.txt'}",
        "data.document=line",
        "data.max_sequence_length=3",
        "data.packing=streams",
        "tokenizer={tokenizer_type: character, vocab_size: 9}",
        "model.rnn={embedding_size: 16, hidden_size: 32, dropout: 0.0}",
        "training.max_steps=150",
        "training.logging_steps=150",
        "training.per_device_train_batch_size=16",
        "training.learning_rate=2e-2",
    )


def test_a_text_that_repeats_itself_is_learned_with_carried_state_only(tmp_path: Path) -> None:
    """Of six tokens two are unforeseeable: 2 ln 4 / 6 = 0.46 nats a token at best.

    Without the state before its block, the second half is as unforeseeable as the first.
    """
    settings = repeating(tmp_path)
    carried, alone = (
        train(
            tiny_experiment(
                "gru", tmp_path / str(carry), *settings, f"training.carry_state={carry}"
            )
        ).metrics["eval/loss"]
        for carry in ("true", "false")
    )
    assert 0.46 < carried < 0.6 < 0.95 < alone
