"""State of any optimizer, to the last bit; and state that is refused, on saving or on loading."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from model_foundry.config import OPTIMIZERS, OptimizerSpec, TrainingConfig
from model_foundry.doctor.same_run import same_bits
from model_foundry.errors import CheckpointError, ConfigError
from model_foundry.foundation.process_group import ALONE
from model_foundry.training.checkpoint.optimizer_loading import load_optimizer, state_after_update
from model_foundry.training.checkpoint.optimizer_state import (
    NUMBERS_FILE,
    TENSORS_FILE,
    capture,
    require_storable,
    write_optimizer,
)
from model_foundry.training.checkpoint.save_load import require_finite
from model_foundry.training.checkpoint.sharded import ShardedState
from model_foundry.training.optimizer import build_optimizer

NAMES = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "momentum", "muon"),
    *("nadam", "radam", "rmsprop", "sgd", "toy"),
)


@pytest.fixture(autouse=True, scope="module")
def toy() -> Iterator[None]:
    module = import_module("tests.toy_optimizer")  # which registers it once
    target = "tests.toy_optimizer:toy"
    OPTIMIZERS.add(OptimizerSpec(name="toy", target=target, schema=module.ToyConfig))
    yield
    OPTIMIZERS.remove("toy")


def made(name: str, *, updates: int = 0) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    settings: dict[str, Any] = {"optimizer": name}
    if name == "momentum":
        settings = {"optimizer": "sgd", "sgd": {"momentum": 0.9}}
    optimizer = build_optimizer(model, TrainingConfig(max_steps=9, **settings))
    for number in range(updates):
        update(model, optimizer, number)
    return model, optimizer


def update(model: nn.Module, optimizer: Optimizer, number: int) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.sin(parameter.detach() * 9 + number)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    optimizer.zero_grad()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return same_bits(one, other)
    return type(one) is type(other) and repr(one) == repr(other)


def all_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)


def everything(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    groups = enumerate(optimizer.param_groups)
    return copy.deepcopy(
        dict(model.state_dict())
        | dict(capture(model, optimizer).values)
        | {f"{i}/{name}": v for i, group in groups for name, v in group.items() if name != "params"}
    )


def saved(place: Path, model: nn.Module, optimizer: Optimizer) -> Path:
    write_optimizer(place, capture(model, optimizer))
    return place


@pytest.mark.parametrize("updates", [0, 1, 2, 4])  # the toy has more after the third
@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_optimizer_goes_on_as_if_nothing_had_happened(
    name: str, updates: int, tmp_path: Path
) -> None:
    one, other = made(name, updates=updates), made(name)
    load_optimizer(saved(tmp_path, *one), *other)
    assert all_same(dict(capture(*one).values), dict(capture(*other).values))
    other[0].load_state_dict(one[0].state_dict())
    for number in range(updates, updates + 3):
        for each in (one, other):
            update(*each, number)
    assert all_same(everything(*one), everything(*other))


def test_a_loaded_optimizer_holds_no_part_of_the_file(tmp_path: Path) -> None:
    one, other = made("adamw", updates=2), made("adamw")
    load_optimizer(saved(tmp_path, *one), *other)
    with (tmp_path / TENSORS_FILE).open("r+b") as file:
        file.write(bytes((tmp_path / TENSORS_FILE).stat().st_size))
    assert all_same(dict(capture(*one).values), dict(capture(*other).values))


def test_hyperparameters_and_learning_rate_are_not_kept(tmp_path: Path) -> None:
    keys = capture(*made("adamw", updates=2)).values.keys()
    assert {key.rpartition("/")[2] for key in keys} == {"step", "exp_avg", "exp_avg_sq"}
    keys = capture(*made("toy", updates=2)).values.keys()
    assert sorted(key for key in keys if "groups" in key) == [
        f"param_groups/{index}/{name}"
        for index in range(3)
        for name in ("drift", "total", "updates")
    ]


@pytest.mark.parametrize(
    "value",
    [
        *(0.1 + 0.2, 1e-300, -0.0, 2**70 + 1, True, False, None, -5),
        *(torch.tensor(3), torch.zeros(0, 2), torch.arange(4, dtype=torch.uint8)),
        *(torch.tensor([True, False]), torch.tensor(1 / 3, dtype=torch.float64)),
        *(torch.arange(12.0).view(3, 4).t() / 7, torch.arange(6.0).bfloat16() / 7),
    ],
    ids=str,
)
def test_every_kind_of_value_is_kept_to_the_last_bit(value: Any, tmp_path: Path) -> None:
    one, other = made("sgd"), made("sgd")
    for model, optimizer in (one, other):
        for parameter in model.parameters():
            optimizer.state[parameter]["own"] = copy.deepcopy(value)
    one[1].param_groups[0]["own"] = value
    load_optimizer(saved(tmp_path, *one), *other)
    assert all(same(held["own"], value) for held in other[1].state.values())
    assert same(other[1].param_groups[0]["own"], value)


def test_tensors_that_share_memory_are_kept(tmp_path: Path) -> None:
    one, other = made("sgd"), made("sgd")
    flat = torch.arange(9.0)
    for model, optimizer in (one, other):
        for index, parameter in enumerate(model.parameters()):
            optimizer.state[parameter] = {"part": flat[index : index + 3], "all": flat}
    load_optimizer(saved(tmp_path, *one), *other)
    assert all_same(dict(capture(*one).values), dict(capture(*other).values))


@pytest.mark.parametrize("name", NAMES)
def test_looking_for_the_state_changes_nothing(name: str) -> None:
    model, optimizer = made(name)
    before = everything(model, optimizer)
    found = state_after_update(optimizer)
    assert all_same(everything(model, optimizer), before)
    # torch's Adagrad has its state from the beginning
    assert name == "adagrad" or not optimizer.state
    assert all(p.grad is None for p in model.parameters())
    update(model, optimizer, 0)
    assert {p: values.keys() for p, values in optimizer.state.items()} == {
        p: values.keys() for p, values in found.items()
    }


def test_a_parameter_without_a_gradient_has_no_state_when_resumed_either(tmp_path: Path) -> None:
    one, other = made("adamw"), made("adamw")
    one[0][2].weight.grad = torch.ones(3, 4)
    one[1].step()
    load_optimizer(saved(tmp_path, *one), *other)
    assert [*other[1].state] == [other[0][2].weight]


# --- refused on saving ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("list", [1, 2], r"0\.weight/list, which is no dense tensor and no number \(<class 'list'"),
        ("text", "on", "is no dense tensor and no number"),
        ("sparse", torch.zeros(2, 2).to_sparse(), "is no dense tensor and no number"),
        ("a/b", 1, "has a name that is no text, or has a '/' in it"),
        (7, 1, "has a name that is no text"),
    ],
)
@pytest.mark.parametrize("in_group", [False, True])
def test_state_that_no_checkpoint_can_hold_is_named(
    in_group: bool, name: Any, value: Any, reason: str
) -> None:
    model, optimizer = made("sgd")
    require_storable(model, optimizer)
    if in_group:
        optimizer.param_groups[0][name] = value
        reason = reason.replace(r"0\.weight", "param_groups/0")
    else:
        optimizer.state[model[0].weight][name] = value
    with pytest.raises(ConfigError, match=rf"training\.optimizer: SGD keeps .*{reason}.*groups$"):
        require_storable(model, optimizer)


def test_state_beside_the_parameters_is_named() -> None:
    model, optimizer = made("sgd")
    optimizer.state["step"] = {"count": 1}
    with pytest.raises(ConfigError, match="SGD keeps 'step', which belongs to no parameter"):
        require_storable(model, optimizer)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_found(bad: float) -> None:
    model, optimizer = made("toy", updates=1)
    require_finite(capture(model, optimizer).finite(), "moment")
    optimizer.param_groups[1]["drift"] = bad
    with pytest.raises(Exception, match=r"a moment is not finite \(param_groups/1/drift\)"):
        require_finite(capture(model, optimizer).finite(), "moment")


def test_a_tensor_that_is_no_shard_cannot_be_gathered() -> None:
    state = ShardedState(nn.Linear(2, 2), ALONE, lambda _: None)  # type: ignore[arg-type,return-value]
    model, optimizer = made("sgd")
    optimizer.state[model[0].weight]["rows"] = torch.ones(5)
    law = r"strategy \(=fsdp2\): the optimizer keeps 0\.weight/rows, which cannot be put together"
    with pytest.raises(ConfigError, match=law):
        state.gather_optimizer(model, optimizer)  # type: ignore[arg-type]


# --- refused on loading ---------------------------------------------------------------------------


def of_files(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return a change of the tensors and the JSON of a checkpoint."""

    def rewrite(place: Path) -> None:
        tensors = load_file(place / TENSORS_FILE)
        content = json.loads((place / NUMBERS_FILE).read_text())
        change(tensors, content)
        save_file(tensors, place / TENSORS_FILE)
        (place / NUMBERS_FILE).write_text(json.dumps(content))

    return rewrite


def to_numbers(tensors: dict[str, Any], key: str) -> dict[str, int]:
    return {key: len(tensors.pop(key))}


def to_tensors(numbers: dict[str, Any], key: str) -> dict[str, Tensor]:
    return {key: torch.tensor(numbers.pop(key))}


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("toy", lambda place: (place / NUMBERS_FILE).unlink(), r"json: cannot be read"),
    ("toy", lambda place: (place / TENSORS_FILE).unlink(), r"tensors: cannot be read"),
    ("toy", lambda place: (place / NUMBERS_FILE).write_text("{"), r"json: cannot be read"),
    ("toy", lambda place: (place / NUMBERS_FILE).write_text("{}"), r"json: optimizer: "),
    ("toy", of_files(lambda t, c: c.update(optimizer="Lion")), "is the state of Lion, not of Toy"),
    ("toy", of_files(lambda t, c: c["numbers"].update({"x/count": 1})), "x/count fits no param"),
    ("toy", of_files(lambda t, c: t.update({"x": torch.ones(1)})), "x fits no parameter"),
    (
        "toy",
        of_files(lambda t, c: c["numbers"].update({"param_groups/7/updates": 1})),
        "param_groups/7/updates fits no parameter",
    ),
    (
        "toy",
        of_files(
            lambda t, c: c["numbers"].update({"0.weight/signs": len(t.pop("0.weight/signs"))})
        ),
        "0.weight/signs has another shape or type than this optimizer holds",
    ),
    (
        "toy",
        of_files(lambda t, c: t.update({"0.weight/signs": t["0.weight/signs"].float()})),
        "0.weight/signs has another shape or type",
    ),
    (
        "toy",
        of_files(lambda t, c: t.update({"param_groups/0/updates": torch.ones(2)})),
        "param_groups/0/updates is a tensor and a number",
    ),
    (
        "toy",
        of_files(lambda t, c: t.update(to_tensors(c["numbers"], "param_groups/0/updates"))),
        "param_groups/0/updates has another shape or type",
    ),
    ("toy", of_files(lambda t, c: t.pop("0.weight/signs")), "0.weight/signs is missing"),
    ("toy", of_files(lambda t, c: c["numbers"].pop("2.bias/odd")), "2.bias/odd is missing"),
    (
        "adafactor",
        of_files(lambda t, c: t.update({"0.weight/row_var": torch.ones(5, 4)})),
        "0.weight/row_var has another shape or type",
    ),
]


@pytest.mark.parametrize(("name", "harm", "message"), FAULTS)
def test_state_of_something_else_is_refused_in_one_line(
    name: str, harm: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    saved(tmp_path, *made(name, updates=2))
    harm(tmp_path)
    for updates in (0, 1):  # a fresh optimizer and one with state are left as they were
        one = made(name, updates=updates)
        before = everything(*one)
        with pytest.raises(CheckpointError, match=message) as refused:
            load_optimizer(tmp_path, *one)
        assert "\n" not in str(refused.value)
        assert all_same(everything(*one), before)
