"""The profile of a step: what costs what, and nothing else becomes of the training."""

import gzip
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import record_function

from model_foundry.architectures import BaseLanguageModel
from model_foundry.experiment.train import train as run_experiment
from model_foundry.foundation.random_state import seeded
from model_foundry.model import create_model
from model_foundry.training.profiler.costs import ENGINE, Cost, Tally
from model_foundry.training.profiler.phases import MARK, STEP, phase
from model_foundry.training.profiler.profile import MOST_OPERATORS, Profile, ProfileReport
from model_foundry.training.state import TrainState
from tests.experiments import tiny_experiment

STEPS, TOKENS = 6, 32


def train(model: BaseLanguageModel, profile: Profile | None = None, *, steps: int = STEPS) -> None:
    """A loop as `training.loop` has one."""
    optimizer, state = torch.optim.AdamW(model.parameters(), fused=True), TrainState()
    generator = torch.Generator().manual_seed(1)

    def step() -> None:
        with phase("data"):
            time.sleep(0.005)
            ids = torch.randint(20, (4, 8), generator=generator)
        with phase("forward"):
            loss = model(input_ids=ids, labels=ids).loss
        with phase("backward"):
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
        state.seen["tokens"] = state.seen.get("tokens", 0) + TOKENS

    training: Any = SimpleNamespace(model=model, context=SimpleNamespace(state=state))
    for _ in range(steps):
        if profile is None:
            step()
        else:
            with profile.around_step(training):
                step()


def made(kind: str, directory: Path) -> BaseLanguageModel:
    return create_model(tiny_experiment(kind, directory), vocab_size=20)


@pytest.fixture
def reports() -> list[ProfileReport]:
    return []


@pytest.mark.parametrize("kind", ["gpt2", "lstm"])
def test_the_costs_add_up_to_the_step(
    kind: str, tmp_path: Path, reports: list[ProfileReport]
) -> None:
    profile = Profile(tmp_path / "new", announce=reports.append, warm_up=2, steps=2)
    train(made(kind, tmp_path), profile)
    [report] = reports
    assert (report.last_step, report.steps, report.on_gpu) == (5, 2, False)
    assert (report.number, report.unit) == (TOKENS, "tokens")
    phases = {cost.name: cost.seconds for cost in report.phases}
    assert set(phases) == {
        *("data", "forward", "backward", "optimizer", "vocabulary and loss", "other")
    }
    assert sum(phases.values()) == pytest.approx(report.profiled_seconds, rel=1e-3)
    assert sum(c.seconds for c in report.operators) == pytest.approx(report.profiled_seconds, 1e-3)
    assert phases["data"] > 0.005 and report.seconds > 0.005
    for costs in (report.phases, report.operators):
        seconds = [cost.seconds for cost in costs]
        assert seconds == sorted(seconds, reverse=True)
    products = [cost for cost in report.operators if cost.name == "aten::addmm"]
    assert all(cost.calls and cost.flops for cost in products)


def test_the_trace_is_that_of_the_last_step(tmp_path: Path, reports: list[ProfileReport]) -> None:
    train(made("gpt2", tmp_path), Profile(tmp_path, announce=reports.append, warm_up=1, steps=1))
    [path] = tmp_path.glob("*.json.gz")
    assert path == reports[0].trace == tmp_path / "profile-step-00000003.json.gz"
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert {STEP, f"{MARK}forward", "aten::addmm"} <= {event.get("name") for event in events}


def test_what_is_trained_is_the_same(tmp_path: Path, reports: list[ProfileReport]) -> None:
    seen, unseen = made("gpt2", tmp_path), made("gpt2", tmp_path)
    with seeded(1):  # for dropout
        train(seen, Profile(tmp_path, announce=reports.append, warm_up=1, steps=2))
        drawn = torch.get_rng_state()
    with seeded(1):
        train(unseen)
        assert torch.equal(torch.get_rng_state(), drawn)
    assert reports
    for one, other in zip(seen.parameters(), unseen.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_ends_as_it_would_have(tmp_path: Path, reports: list[ProfileReport]) -> None:
    weights = []
    for name, profile in (
        ("seen", Profile(tmp_path, announce=reports.append, warm_up=1, steps=2)),
        ("unseen", None),
    ):
        config = tiny_experiment("gpt2", tmp_path / name, "training.eval_steps=2")
        result = run_experiment(config, profile=profile)
        weights.append((result.model_dir / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    phases = {cost.name for cost in reports[0].phases}
    assert {"data", "forward", "backward", "gradient norm", "optimizer"} <= phases


def test_a_run_that_ends_before_is_not_profiled(
    tmp_path: Path, reports: list[ProfileReport]
) -> None:
    profile = Profile(tmp_path, announce=reports.append, warm_up=2, steps=4)
    train(made("gpt2", tmp_path), profile, steps=6)
    assert (reports, profile.report) == ([], None)
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_cannot_be_written_stops_nothing(
    tmp_path: Path, reports: list[ProfileReport], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    train(
        made("gpt2", tmp_path),
        Profile(tmp_path / "file", announce=reports.append, warm_up=1, steps=1),
    )
    assert reports[0].trace is None
    assert "profile-step-00000003.json.gz: cannot be written (File exists)" in caplog.text


def test_a_mark_that_nobody_sees_is_nothing() -> None:
    assert not isinstance(phase("forward"), record_function)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        assert isinstance(phase("forward"), record_function)


def test_without_a_directory_there_are_phases_only(
    tmp_path: Path, reports: list[ProfileReport]
) -> None:
    train(made("gpt2", tmp_path), Profile(None, announce=reports.append, warm_up=1, steps=1))
    [report] = reports
    assert (report.operators, report.trace) == ([], None)
    lines = list(report.lines())
    assert len(lines) == 2 + len(report.phases)
    assert lines[1].endswith("time of the processor")


# --- its lines ------------------------------------------------------------------------------------

REPORT = ProfileReport(
    last_step=16,
    steps=5,
    on_gpu=False,
    seconds=0.02,
    profiled_seconds=0.04,
    number=512,
    unit="tokens",
    phases=[Cost("backward", 0.03), Cost("forward", 0.01)],
    operators=[Cost("aten::mm", 0.02, 4, 4e9), Cost("My\x1bFunction", 0.01, 1.5)],
    trace=Path("runs/one/diagnostics/profile-step-00000016.json.gz"),
)


def test_the_lines_by_value() -> None:
    assert list(REPORT.lines()) == [
        "a step takes 20.00 ms, 25,600 tokens per second; "
        "steps 12 to 16, under the profiler, 40.00 ms:",
        "   share        ms  time of the processor",
        "   75.0%     30.00  backward",
        "   25.0%     10.00  forward",
        "   share        ms   calls  GFLOP/s  operator",
        "   50.0%     20.00       4      200  aten::mm",
        "   25.0%     10.00       2           My\\x1bFunction",
        "trace of step 16, for ui.perfetto.dev: runs/one/diagnostics/profile-step-00000016.json.gz",
    ]


def test_only_the_costliest_operators_are_shown() -> None:
    many = [Cost(f"operator {number}", 0.001) for number in range(99)]
    lines = list(replace(REPORT, operators=many, trace=None, on_gpu=True).lines())
    assert len([line for line in lines if "operator " in line]) == MOST_OPERATORS
    assert lines[1].endswith("time of the GPU")
    assert "trace" not in lines[-1]


# --- events made by hand --------------------------------------------------------------------------


def event(
    name: str, begin: int, end: int, caller: Any = None, *, number: int = -1, **more: Any
) -> Any:
    """An event from `begin` to `end`, in microseconds; its callees are noted in its caller."""
    made = SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=begin, end=end),
        cpu_parent=caller,
        sequence_nr=number,
        cpu_time_total=end - begin,
        self_cpu_time_total=end - begin,
        device_type=DeviceType.CPU,
        is_user_annotation=name.startswith(MARK),
        thread=1,
        flops=0,
        input_shapes=[],
        kernels=[],
    )
    if caller is not None:
        caller.self_cpu_time_total -= end - begin
    return SimpleNamespace(**{**vars(made), **more})


V, E = 20, 4


def a_step(*, thread_of_backward: int = 1) -> list[Any]:
    """A step of 100: 5 data, 10 layers, 20 projection, 2 loss, 3 + 28 + 12 backward, 20 others."""

    def kernel(duration: int) -> list[Any]:
        return [SimpleNamespace(duration=duration)]

    step = event(STEP, 0, 100, kernels=kernel(100))
    data = event(f"{MARK}data", 0, 5, step)
    forward = event(f"{MARK}forward", 10, 42, step)
    lookup = event("aten::embedding", 10, 10, forward, number=1, input_shapes=[[V, E], [2, 3]])
    layer = event(
        "aten::linear",
        *(10, 20, forward),
        number=2,
        input_shapes=[[V, E], [E, E], [E]],  # as many rows as the vocabulary has words
        kernels=kernel(1),
    )
    projection = event("aten::linear", 20, 40, forward, number=3, input_shapes=[[2, E], [V, E]])
    product = event("aten::mm", 20, 40, projection, number=3, flops=640, kernels=kernel(7))
    loss = event("aten::view", 40, 42, forward, number=4, kernels=kernel(1))
    more = {"thread": thread_of_backward}
    backward = event(f"{MARK}backward", 42, 85, step)
    of_projection = event(f"{ENGINE}MmBackward0", 45, 73, backward, number=3, **more)
    its_product = event("aten::mm", 45, 73, of_projection, kernels=kernel(14), **more)
    of_layer = event(f"{ENGINE}AddmmBackward0", 73, 85, backward, number=2, **more)
    its_own = event("aten::mm", 73, 85, of_layer, kernels=kernel(2), **more)
    update = event("Optimizer.step#AdamW.step", 85, 90, step, is_user_annotation=True)
    fused = event("aten::_fused_adamw_", 85, 90, update, kernels=kernel(5))
    on_device = event("a kernel", 0, 100, device_type=DeviceType.CUDA)
    events = [step, data, forward, lookup, layer, projection, product, loss, backward]
    return [*events, of_projection, its_product, of_layer, its_own, update, fused, on_device]


def tallied(events: list[Any], *, on_gpu: bool = False, times: int = 1) -> tuple[dict, dict]:
    tally = Tally({(V, E)}, on_gpu)
    for _ in range(times):
        tally.add(events)
    return tuple({c.name: round(c.seconds * 1e6, 6) for c in costs} for costs in tally.costs())


@pytest.mark.parametrize("times", [1, 2])
def test_phases_by_value(times: int) -> None:
    phases, operators = tallied(a_step(), times=times)
    assert phases == {
        "vocabulary and loss": 20 + 2 + 28,
        "forward": 10,
        "backward": 3 + 12,
        "data": 5,
        "optimizer": 5,
        "other": 15,
    }
    assert operators["aten::mm"] == 20 + 28 + 12
    assert operators["(Python, outside of operators)"] == 15 + 5 + 3


def test_kernels_count_for_the_phase_that_launched_them() -> None:
    phases, operators = tallied(a_step(thread_of_backward=2), on_gpu=True, times=2)
    assert phases == {
        "waiting for the CPU": 100 - 30,
        "vocabulary and loss": 7 + 1 + 14,
        "backward": 2,
        "forward": 1,
        "optimizer": 5,
    }
    assert operators["aten::mm"] == 7 + 14 + 2


def test_without_known_matrices_only_the_loss_is_separate() -> None:
    events = [
        step := event(STEP, 0, 10),
        forward := event(f"{MARK}forward", 0, 10, step),
        event("aten::linear", 0, 4, forward, input_shapes=[[2, E], [V, E]]),
        event("_SummedLoss", 4, 10, forward),
    ]
    tally = Tally(set(), on_gpu=False)
    tally.add(events)
    assert {c.name: round(c.seconds * 1e6) for c in tally.costs()[0]} == {
        "vocabulary and loss": 6,
        "forward": 4,
    }
