"""The comparison of two runs finds one bit, one line and one file that differ."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_foundry import train
from model_foundry.doctor.same_run import differences, same_bits
from tests.experiments import three_passes, tiny_experiment

STEP = "step-00000004"
SETTINGS = ("training.max_steps=4", "training.save_steps=2", "training.eval_steps=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("equivalence")
    settings = (*three_passes(directory), *SETTINGS)
    return train(tiny_experiment("gru", directory, *settings)).output_dir


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")


def change_tensor(file: Path, name: str, change: Callable[[torch.Tensor], None]) -> None:
    tensors = load_file(file)
    change(tensors[name].view(-1))
    save_file(tensors, file)


def change_lines(run: Path, change: Callable[[list[str]], None]) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    change(lines)
    (run / "metrics.jsonl").write_text("".join(lines))


def flip_lowest_bit(values: torch.Tensor) -> None:
    values.view(torch.int32)[3] ^= 1


def test_a_copy_is_equal(finished: Path, copied: Path) -> None:
    assert differences(finished, copied) == []


@pytest.mark.parametrize(
    "file",
    ["model/model", f"checkpoints/{STEP}/model", f"checkpoints/{STEP}/optimizer"],
)
def test_a_single_flipped_bit_of_a_tensor_is_found(finished: Path, copied: Path, file: str) -> None:
    path = copied / f"{file}.safetensors"
    name = max(name for name, tensor in load_file(path).items() if tensor.numel() > 3)
    change_tensor(path, name, flip_lowest_bit)
    where = Path(file).parent.name
    assert differences(finished, copied) == [f"{where}/{path.name}: {name} differs"]


def test_a_flipped_bit_of_the_random_state_is_found(finished: Path, copied: Path) -> None:
    path = copied / "checkpoints" / STEP / "random_states.safetensors"
    change_tensor(path, "cpu", lambda values: values.view(torch.uint8)[100].bitwise_xor_(1))
    assert differences(finished, copied) == [f"{STEP}/{path.name}: cpu differs"]


def test_bits_and_not_values_are_compared() -> None:
    quiet, other = (torch.tensor([bits], dtype=torch.int32) for bits in (0x7FC00000, 0x7FC00001))
    nan, payload = quiet.view(torch.float32), other.view(torch.float32)
    assert same_bits(nan, nan.clone())
    assert not same_bits(nan, payload)
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert not same_bits(torch.zeros(2), torch.zeros(1, 2))
    assert not same_bits(torch.zeros(2), None)
    assert same_bits(torch.arange(6).reshape(2, 3).T, torch.arange(6).reshape(2, 3).T.contiguous())


def test_a_missing_line_of_the_log_is_found(finished: Path, copied: Path) -> None:
    change_lines(copied, lambda lines: lines.pop())
    assert differences(finished, copied) == ["log: 6 lines and 5"]


@pytest.mark.parametrize(
    "field", ["train/loss", "train/learning_rate", "train/grad_norm", "train/tokens_seen"]
)
def test_the_last_digit_of_a_number_of_the_log_is_found(
    finished: Path, copied: Path, field: str
) -> None:
    def change(lines: list[str]) -> None:
        line = json.loads(lines[1])
        changed = torch.tensor(line[field], dtype=torch.float64)
        line[field] = float(changed.nextafter(changed + 1))
        lines[1] = json.dumps(line) + "\n"

    change_lines(copied, change)
    (found,) = differences(finished, copied)
    assert found.startswith(f"log, step 2: {field}: ")


def test_what_a_clock_says_is_not_compared(finished: Path, copied: Path) -> None:
    def change(lines: list[str]) -> None:
        line = json.loads(lines[1]) | {"time": 0, "attempt": 9}
        line |= {f"train/{unit}_per_second": 1.5 for unit in ("tokens", "examples")}
        lines[1] = json.dumps(line) + "\n"

    change_lines(copied, change)
    assert differences(finished, copied) == []


@pytest.mark.parametrize(
    "counter", ["seen.tokens", "seen.words", "best.value", "best.step", "evaluations_since_best"]
)
def test_a_changed_counter_is_found(finished: Path, copied: Path, counter: str) -> None:
    path = copied / "checkpoints" / STEP / "state.json"
    state = json.loads(path.read_text())
    *above, last = counter.split(".")
    place = state["counters"][above[0]] if above else state["counters"]
    place[last] += 1
    path.write_text(json.dumps(state))
    (found,) = differences(finished, copied)
    assert found.startswith(f"{STEP}: counters.{counter}: ")


def test_sums_of_training_metrics_are_compared(finished: Path, copied: Path) -> None:
    path = copied / "checkpoints" / STEP / "state.json"
    state = json.loads(path.read_text()) | {"train_metrics": [{"accuracy": [1.0, 4.0]}]}
    path.write_text(json.dumps(state))
    (found,) = differences(finished, copied)
    assert found.startswith(f"{STEP}: train_metrics: ")


def test_a_state_that_contradicts_itself_is_found(finished: Path, copied: Path) -> None:
    path = copied / "checkpoints" / STEP / "state.json"
    state = json.loads(path.read_text())
    state["counters"]["examples_seen"] += 1
    path.write_text(json.dumps(state))
    (found,) = differences(finished, copied)
    assert found.startswith(f"{STEP}: ") and "examples do not make its steps" in found


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ("model/model.safetensors", "model: only one of the runs has model.safetensors"),
        (
            f"checkpoints/{STEP}/optimizer.safetensors",
            f"{STEP}: only one of the runs has optimizer.safetensors",
        ),
        (
            "evaluation/loss-step-00000004.json",
            "evaluation: only one of the runs has loss-step-00000004.json",
        ),
    ],
)
def test_a_missing_file_is_found(finished: Path, copied: Path, lost: str, found: str) -> None:
    (copied / lost).unlink()
    assert differences(finished, copied) == [found]


def test_a_changed_measurement_is_found(finished: Path, copied: Path) -> None:
    path = copied / "evaluation" / "loss-step-00000004.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eval/loss": 1.0}))
    (found,) = differences(finished, copied)
    assert found.startswith("evaluation/loss-step-00000004.json: eval/loss: ")


def test_nothing_is_not_equal_to_nothing(finished: Path, copied: Path) -> None:
    other = shutil.copytree(copied, copied.with_name("other"))
    for run in (copied, other):
        for part in ("model", "checkpoints"):
            shutil.rmtree(run / part)
    found = differences(copied, other)
    assert found == [
        "model: neither of the runs has one",
        "checkpoints: the runs have none in common",
    ]
    with pytest.raises(OSError):
        differences(finished, copied.with_name("nothing"))
