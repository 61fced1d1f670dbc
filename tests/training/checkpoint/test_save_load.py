"""Contents of a checkpoint, restored to the last bit, and refused ones."""

import json
import math
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model_foundry import train
from model_foundry.architectures import BaseLanguageModel
from model_foundry.doctor.same_run import same_bits
from model_foundry.errors import CheckpointError, NonFiniteError, SaveError
from model_foundry.experiment.result import RunResult
from model_foundry.foundation.atomic_files import MANIFEST, file_sha256, find_damage
from model_foundry.foundation.random_state import RandomStates, random_states, seeded
from model_foundry.model import create_model
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint import save_load
from model_foundry.training.checkpoint.optimizer_loading import load_optimizer
from model_foundry.training.checkpoint.optimizer_state import capture
from model_foundry.training.checkpoint.save_load import (
    ResumeTensors,
    keep_only_the_model,
    load_carried,
    load_random_states,
    load_weights,
    pack_random_states,
    save_checkpoint,
    save_model,
)
from model_foundry.training.checkpoint.state_file import (
    STATE_FORMAT,
    CheckpointState,
    Counters,
    read_state,
)
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.run_fingerprint import RunFingerprint
from model_foundry.training.state import Best, TrainState
from tests.experiments import MODELS, tiny_experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    directory = tmp_path_factory.mktemp("checkpoints")
    return train(tiny_experiment("lstm", directory, "training.save_steps=4"))


def test_checkpoints_come_at_their_steps_and_at_the_end(run: RunResult) -> None:
    names = sorted(path.name for path in (run.output_dir / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000006"]


def test_manifest_lists_every_file_with_its_digest(run: RunResult) -> None:
    directory = run.output_dir / "checkpoints" / "step-00000006"
    manifest = json.loads((directory / MANIFEST).read_text())
    listed = {entry["name"]: entry for entry in manifest["files"]}
    files = {path.name for path in directory.iterdir()} - {MANIFEST}
    assert set(listed) == files
    for name, entry in listed.items():
        assert entry["sha256"] == file_sha256(directory / name)
        assert entry["bytes"] == (directory / name).stat().st_size


def test_nothing_is_pickled(run: RunResult) -> None:
    files = [path for path in run.output_dir.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files if path.name != ".lock"}
    assert kinds <= {".json", ".jsonl", ".yaml", ".safetensors", ".py", ".model"}


def test_state_counts_what_was_seen(run: RunResult) -> None:
    directory = run.output_dir / "checkpoints" / "step-00000004"
    state = json.loads((directory / "state.json").read_text())["counters"]
    assert state["step"] == 4
    assert state["examples_seen"] == 16  # 4 steps of 4 rows
    assert state["seen"]["tokens"] == 256  # of 16 tokens each
    assert 0 < state["seen"]["words"] < 256


def test_optimizer_tensors_stand_under_their_parameters_names(run: RunResult) -> None:
    directory = run.output_dir / "checkpoints" / "step-00000006"
    tensors = load_file(directory / "optimizer.safetensors")
    model = create_model(tiny_experiment("lstm", run.output_dir.parent))
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, shape in shapes.items():
        assert tensors[f"{name}/exp_avg"].shape == tensors[f"{name}/exp_avg_sq"].shape == shape
        assert tensors[f"{name}/step"].item() == 6
    assert len(tensors) == 3 * len(shapes)


def test_last_checkpoint_holds_the_final_model(run: RunResult) -> None:
    final = load_file(run.model_dir / "model.safetensors")
    last = load_file(run.output_dir / "checkpoints" / "step-00000006" / "model.safetensors")
    assert all(torch.equal(final[name], last[name]) for name in final | last)


# --- what is written ------------------------------------------------------------------------------


@dataclass
class Made:
    """A model that has made an update, with all that a checkpoint takes."""

    model: BaseLanguageModel
    optimizer: torch.optim.Optimizer
    tokenizer: PreTrainedTokenizerBase

    def save(
        self,
        directory: Path,
        *,
        state: TrainState | None = None,
        tensors: Mapping[str, Any] | None = MappingProxyType({}),
        others: Sequence[RandomStates] = (),
        **changed: Any,
    ) -> Path:
        """Write a checkpoint; `tensors` replaces some of those to resume from, None: all."""
        random, values = pack_random_states([random_states(), *others])
        state = state or TrainState(
            step=3, examples_seen=24, best=Best(metric="loss", value=1.5, step=2)
        )
        facts: dict[str, Any] = {
            "format": STATE_FORMAT,
            "run_id": "0123",
            "attempt": 1,
            "milestone": False,
            "counters": Counters.model_validate(state),
            "identity": IDENTITY,
            "random": None if tensors is None else values[0],
            "random_of_others": values[1:],
            "scaler": None,
        }
        if tensors is not None:
            given = {"optimizer": capture(self.model, self.optimizer), "random": random}
            tensors = ResumeTensors(**(given | tensors))
        facts = CheckpointState(**(facts | changed))
        save_checkpoint(directory, self.model, PROCESSORS, facts, tensors)
        return directory


IDENTITY = RunFingerprint(config={}, content={}, examples_per_step=8, total_steps=9, environment={})
TOKENIZER = TokenizerFactory.train_character(documents=["The dogs chase a cat."])
PROCESSORS = {"tokenizer": TextTokenizer(TOKENIZER, "none")}


def made(kind: str, *overrides: str, seed: int = 1, updated: bool = True) -> Made:
    config = tiny_experiment(kind, Path("nowhere"), f"seed={seed}", *overrides)
    model = create_model(config, tokenizer=TOKENIZER)
    optimizer = build_optimizer(model, config.training)
    if updated:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1)
        optimizer.step()
    return Made(model, optimizer, TOKENIZER)


def everything_of(one: Made) -> dict[str, Tensor]:
    return {**one.model.state_dict(), **capture(one.model, one.optimizer).tensors}


def test_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save_load, "save_file", fail)
    with pytest.raises(SaveError, match="No space left on device"):
        made("lstm").save(tmp_path / "step-00000003")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_what_was_saved_is_what_is_loaded(kind: str, tmp_path: Path) -> None:
    first, second = made(kind), made(kind, seed=2, updated=False)
    directory = first.save(tmp_path / "step-00000003")
    load_weights(directory, second.model)
    load_optimizer(directory, second.model, second.optimizer)
    expected, found = everything_of(first), everything_of(second)
    assert expected.keys() == found.keys()
    assert all(same_bits(found[name], tensor) for name, tensor in expected.items())


def test_counters_and_generators_are_what_they_were(tmp_path: Path) -> None:
    best = Best(metric="loss", value=0.1 + 0.2, step=2)
    seen = {"tokens": 100, "words": 50}
    state = TrainState(3, 3, examples_seen=24, seen=seen, best=best, evaluations_since_best=1)
    with seeded(5):
        directory = made("rnn").save(tmp_path / "step-00000003", state=state, attempt=4)
        expected = torch.rand(3)
    found = read_state(directory)
    assert Counters.model_validate(state) == found.counters
    assert (found.attempt, found.run_id, found.identity) == (4, "0123", IDENTITY)
    with seeded(6):
        assert load_random_states(directory, found) == []
        assert torch.equal(torch.rand(3), expected)


def test_every_counter_of_a_run_is_kept() -> None:
    kept = {field.name for field in fields(TrainState)} - {"last_good_step", "stop_reason"}
    assert set(Counters.model_fields) == kept


def test_a_checkpoint_for_analysis_holds_no_more_than_a_model(tmp_path: Path) -> None:
    directory = made("rnn").save(tmp_path / "step-00000003", tensors=None, milestone=True)
    names = {path.name for path in directory.glob("*.safetensors")}
    assert names == {"model.safetensors"}
    state = read_state(directory)
    assert (state.random, state.milestone) == (None, True)


# --- tied weights ---------------------------------------------------------------------------------

TYING = {
    "gpt2": [],
    "bert": [],
    **{
        kind: ["model.rnn.tie_word_embeddings=true", "model.rnn.hidden_size=24"]
        for kind in ("lstm", "gru", "rnn")
    },
}


@dataclass
class Carrying(Made):
    """A model with the states of four rows after a text, in two micro-batches."""

    carried: CarriedState

    def save(self, directory: Path, **changed: Any) -> Path:
        carried = {"carried": self.carried.tensors()}
        return super().save(directory, **({"tensors": carried} | changed))


@pytest.fixture
def carrying() -> Carrying:
    one = made("gru")
    states = CarriedState(one.model, micro_batches=2, rows=2)
    for slot in range(2):
        ids = torch.randint(0, 9, (2, 5), generator=torch.Generator().manual_seed(slot))
        states.keep(slot, one.model(ids, use_cache=True))
    return Carrying(one.model, one.optimizer, one.tokenizer, states)


def test_carried_states_are_kept_to_the_last_bit(carrying: Carrying, tmp_path: Path) -> None:
    path = carrying.save(tmp_path / "step-00000003")
    restored = CarriedState(carrying.model, micro_batches=1, rows=4)
    load_carried(path, restored)
    for name, tensor in carrying.carried.tensors().items():
        assert tensor.shape[0] == 4 and same_bits(restored.tensors()[name], tensor)


def test_the_generators_of_every_process_are_kept(tmp_path: Path) -> None:
    one = made("gru")
    states, expected = [], []
    for seed in range(3):
        with seeded(seed):
            states.append(random_states())
            expected.append([float(torch.rand(())), float(np.random.random()), random.random()])
    with seeded(0):
        path = one.save(tmp_path / "step-00000003", others=states[1:])
    found = read_state(path)
    assert len(found.random_of_others) == 2
    for process in range(3):
        with seeded(9):
            assert load_random_states(path, found, rank=process) == []
            drawn = [float(torch.rand(())), float(np.random.random()), random.random()]
        assert drawn == expected[process]
    with seeded(9), pytest.raises(CheckpointError, match="holds no random states"):
        load_random_states(path, found, rank=3)


def test_what_is_not_resumed_from_holds_no_carried_states(
    carrying: Carrying, tmp_path: Path
) -> None:
    path = carrying.save(tmp_path / "step-00000003")
    analysed = carrying.save(tmp_path / "step-00000004", tensors=None)
    assert not (analysed / "carried.safetensors").exists()
    keep_only_the_model(path)
    assert not (path / "carried.safetensors").exists() and find_damage(path) is None


def test_a_carried_state_that_is_no_number_is_not_saved(carrying: Carrying, tmp_path: Path) -> None:
    infinite = {n: torch.full_like(t, math.inf) for n, t in carrying.carried.tensors().items()}
    carrying.carried.restore(infinite)
    with pytest.raises(NonFiniteError, match=r"a state of the model is not finite \(0\.hidden\)"):
        carrying.save(tmp_path / "step-00000003")
    assert not (tmp_path / "step-00000003").exists()


def uses_of_the_embedding(model: nn.Module, weight: nn.Parameter) -> list[str]:
    """Return the names of all places of a model that hold one parameter."""
    return [
        name for name, found in model.named_parameters(remove_duplicate=False) if found is weight
    ]


@pytest.mark.parametrize("kind", sorted(TYING))
def test_what_is_tied_is_stored_once_and_tied_again_by_identity(kind: str, tmp_path: Path) -> None:
    first, second = (made(kind, *TYING[kind], seed=seed) for seed in (1, 2))
    directory = first.save(tmp_path / "step-00000003")
    weight = second.model.get_input_embeddings().weight
    places = uses_of_the_embedding(second.model, weight)
    assert len(places) == 2
    load_weights(directory, second.model)
    assert second.model.get_input_embeddings().weight is weight
    assert uses_of_the_embedding(second.model, weight) == places
    assert torch.equal(weight, first.model.get_input_embeddings().weight)
    for file, kinds in (("model.safetensors", 1), ("optimizer.safetensors", 2)):
        shapes = [tensor.shape for tensor in load_file(directory / file).values()]
        assert shapes.count(weight.shape) == kinds  # of the optimizer, two moments


@pytest.mark.parametrize("kind", sorted(TYING))
def test_what_is_tied_learns_as_one_after_it_was_loaded(kind: str, tmp_path: Path) -> None:
    first, second = (made(kind, *TYING[kind], seed=seed) for seed in (1, 2))
    directory = first.save(tmp_path / "step-00000003")
    load_weights(directory, second.model)
    load_optimizer(directory, second.model, second.optimizer)
    for one in (first, second):
        for parameter in one.model.parameters():
            parameter.grad = torch.full_like(parameter, -0.3)
        one.optimizer.step()
    expected, found = everything_of(first), everything_of(second)
    assert all(same_bits(found[name], tensor) for name, tensor in expected.items())


# --- what is no number ----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["weight", "exp_avg", "exp_avg_sq", "step"])
def test_what_is_no_number_is_never_written(where: str, bad: float, tmp_path: Path) -> None:
    one = made("gru")
    *_, parameter = one.model.parameters()
    tensor = parameter.data if where == "weight" else one.optimizer.state[parameter][where]
    tensor.view(-1)[-1] = bad
    with pytest.raises(NonFiniteError, match=r"is not finite \([\w./]+\); nothing was saved"):
        one.save(tmp_path / "step-00000003")
    if where == "weight":
        with pytest.raises(NonFiniteError, match="a weight is not finite"):
            save_model(tmp_path / "model", one.model, one.tokenizer)
        with pytest.raises(NonFiniteError, match="a weight is not finite"):
            one.save(tmp_path / "step-00000003", tensors=None)
    assert list(tmp_path.iterdir()) == []


# --- what is not what this version writes ---------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("rnn").save(tmp_path_factory.mktemp("saved") / "step-00000003")


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / saved.name))


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", b"\xff" * 8, b"\0" * 64])
@pytest.mark.parametrize("name", ["optimizer", "random_states", "carried"])
def test_tensors_that_cannot_be_read_are_named(
    name: str, content: bytes | None, carrying: Carrying, tmp_path: Path
) -> None:
    path = carrying.save(tmp_path / "step-00000003")
    load: dict[str, Callable[[], object]] = {
        "optimizer": lambda: load_optimizer(path, carrying.model, carrying.optimizer),
        "random_states": lambda: load_random_states(path, read_state(path)),
        "carried": lambda: load_carried(path, carrying.carried),
    }
    file = path / f"{name}.safetensors"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{file.name}: cannot be read"):
        load[name]()


def test_carried_states_of_other_rows_are_refused(carrying: Carrying, tmp_path: Path) -> None:
    path = carrying.save(tmp_path / "step-00000003")
    other = CarriedState(carrying.model, micro_batches=2, rows=3)
    with pytest.raises(CheckpointError, match=r"carried\.safetensors: .* states of \[4\] rows"):
        load_carried(path, other)
    (path / "carried.safetensors").write_bytes((path / "optimizer.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"state of this gru is 0\.hidden, 1\.hidden, each"):
        load_carried(path, carrying.carried)


OTHERS: dict[str, Callable[[dict[str, Tensor], str], object]] = {
    "no such parameter": lambda tensors, name: tensors.update({"nobody/exp_avg": torch.zeros(2)}),
    "without a parameter": lambda tensors, name: tensors.update(exp_avg=torch.zeros(2)),
    "another shape": lambda tensors, name: tensors.update({f"{name}/exp_avg": torch.zeros(2, 77)}),
    "a scalar for a matrix": lambda tensors, name: tensors.update(
        {f"{name}/exp_avg": torch.zeros(())}
    ),
    "a moment too few": lambda tensors, name: tensors.pop(f"{name}/exp_avg_sq"),
}


@pytest.mark.parametrize("change", sorted(OTHERS))
def test_tensors_of_another_optimizer_are_refused(change: str, copied: Path) -> None:
    one = made("rnn")
    before = everything_of(one)
    tensors = load_file(copied / "optimizer.safetensors")
    OTHERS[change](tensors, next(name for name, _ in one.model.named_parameters()))
    save_file(tensors, copied / "optimizer.safetensors")
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors: "):
        load_optimizer(copied, one.model, one.optimizer)
    assert all(same_bits(everything_of(one)[name], t) for name, t in before.items())


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [("lstm", []), ("rnn", ["model.rnn.hidden_size=40"]), ("rnn", ["model.rnn.num_layers=3"])],
)
def test_weights_of_another_model_are_refused(kind: str, overrides: list[str], saved: Path) -> None:
    one = made(kind, *overrides)
    with pytest.raises(CheckpointError, match=saved.name):
        load_weights(saved, one.model)


@pytest.mark.parametrize("change", [{"python": None}, {"numpy": ["MT19937", [], 9**9, 0, 0.0]}, {}])
def test_random_states_that_are_none_are_refused(change: dict[str, Any], saved: Path) -> None:
    state = read_state(saved)
    assert state.random is not None
    random = state.random | change if change else None
    with seeded(1), pytest.raises(CheckpointError, match="holds no random states"):
        load_random_states(saved, state.model_copy(update={"random": random}))
