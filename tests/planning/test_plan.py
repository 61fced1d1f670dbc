"""A plan against the run that follows it, for every architecture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.config import ARCHITECTURES
from model_foundry.errors import ConfigError, MemoryExhaustedError
from model_foundry.experiment.train import train
from model_foundry.model import create_model
from model_foundry.objectives.preparation import prepare
from model_foundry.planning import Plan, build_plan
from model_foundry.planning.timing import Costs
from model_foundry.planning.trial import Trial
from model_foundry.training.loop import Loop
from model_foundry.training.metrics_log import read_metrics
from tests.experiments import tiny_experiment
from tests.planning.kinds import KINDS, experiment_of_kind
from tests.task_runs import task, tasks_loaded, write_data

RECORDED = (
    "training.max_steps=7",
    "training.logging_steps=1",
    "training.eval_steps=3",
    "training.save_steps=2",
    "training.milestones={steps: [5]}",
)


COSTS = Costs(warm_up=1.0, step=0.1, steps=5, evaluation=1.0, checkpoint=0.1, checkpoint_bytes=1000)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def bytes_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def test_every_architecture_has_an_experiment(tmp_path: Path) -> None:
    found = {experiment_of_kind(kind, tmp_path / kind).model.architecture for kind in KINDS}
    ours = {each.name for each in ARCHITECTURES.known() if each.target.startswith("model_foundry.")}
    assert found == ours


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_those_of_the_model(kind: str, tmp_path: Path) -> None:
    config = experiment_of_kind(kind, tmp_path)
    parts, prepared = build_plan(config).parameters, prepare(config)
    model = create_model(config, **prepared.objective.model_arguments(prepared.processors))
    assert parts.total == parts.trainable == model.get_parameter_count()
    assert parts.embeddings + parts.layers + parts.other + parts.head == parts.total


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_as_it_was_planned(kind: str, tmp_path: Path) -> None:
    config = experiment_of_kind(kind, tmp_path, *RECORDED)
    plan = build_plan(config)
    assert not config.output_dir.exists()
    result = train(config)
    assert plan.parameters.total == result.parameters
    require_its_schedule(plan, config.output_dir)
    require_its_sizes(plan, config.output_dir)
    require_its_units(plan, config.output_dir)


def require_its_schedule(plan: Plan, run: Path) -> None:
    lines = read_metrics(run / "metrics.jsonl")
    evaluated = [n["step"] for n in lines if any(name.startswith("eval/") for name in n)]
    assert plan.schedule.evaluations == evaluated == [3, 6, 7]
    steps = [int(path.name[5:]) for path in sorted((run / "checkpoints").iterdir())]
    assert sorted({*plan.schedule.checkpoints, *plan.schedule.milestones}) == steps
    assert plan.schedule.milestones == [5]
    assert (plan.disk.kept, plan.disk.lean) == (4, 1)


def require_its_sizes(plan: Plan, run: Path) -> None:
    """Check against what was written; the records of so small a model are a third of it."""
    checkpoint = bytes_of(run / "checkpoints/step-00000004")
    records = 20_000
    assert plan.disk.checkpoint == pytest.approx(checkpoint, rel=0.03, abs=records)
    assert plan.disk.model == pytest.approx(bytes_of(run / "model"), rel=0.03, abs=records)
    left = bytes_of(run / "checkpoints") + bytes_of(run / "model")
    assert plan.disk.extra == 0  # none is ever deleted
    assert plan.disk.in_all == pytest.approx(left, rel=0.03, abs=6 * records)


def require_its_units(plan: Plan, run: Path) -> None:
    last = read_metrics(run / "metrics.jsonl")[-2]
    for unit, number in plan.length.in_all.items():
        assert last[f"train/{unit}_seen"] == pytest.approx(number, rel=0.15)
    assert plan.length.steps == 7


def test_a_plan_is_plain_data(tmp_path: Path) -> None:
    plan = build_plan(tiny_experiment("lstm", tmp_path))
    record = plan.as_json()
    assert record["parameters"]["total"] == plan.parameters.total
    assert record["schedule"]["evaluations"] == [6]
    assert record["time"] is None and record["compute"]["attention"] == 0


def test_epochs_give_the_steps_and_the_tokens_of_a_pass(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "training.max_steps=null", "training.epochs=2")
    length = build_plan(config).length
    assert length.passes == pytest.approx(2, rel=0.05)
    assert length.row == 16 and length.per_step["tokens"] == 4 * 16
    assert length.steps == -(-2 * length.examples // 4)


@pytest.mark.parametrize(("building", "reads"), [(100.0, 2), (0.5, 1)])
def test_a_run_does_not_wait_for_what_the_plan_has_cached(
    building: float, reads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second of reading the cache counts and 100 of building it do not; half a second is no
    reason to read twice."""
    clock, seconds = [0.0], [building, 1.0]

    def slow_prepare(config: Any) -> Any:
        clock[0] += seconds.pop(0)
        return prepare(config)

    monkeypatch.setattr("model_foundry.planning.plan.prepare", slow_prepare)
    monkeypatch.setattr("model_foundry.planning.plan.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("model_foundry.planning.plan.measure_costs", lambda *_: COSTS)
    config = tiny_experiment("lstm", tmp_path)
    spent = build_plan(config, measure=True, started=7.0).time
    assert spent is not None and len(seconds) == 2 - reads
    assert spent.start == pytest.approx(7.0 + (1.0 if reads == 2 else building))


def test_the_age_of_a_notebook_is_no_part_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_foundry.planning.plan.measure_costs", lambda *_: COSTS)
    monkeypatch.setattr("model_foundry.planning.plan.time.perf_counter", lambda: 3.0)
    spent = build_plan(tiny_experiment("lstm", tmp_path), measure=True).time
    assert spent is not None and spent.start == 0.0


LIMITED = (
    *("debug.limit_train=0.25", "debug.limit_validation=2", "debug.limit_test=0.5"),
    *("data.test={language: {sentences: 80, seed: 3}}", "training.eval_steps=4"),
    *("training.max_steps=null", "training.epochs=3", "training.per_device_eval_batch_size=2"),
)


def test_the_limits_of_debug_are_those_of_a_run(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("model_foundry.planning.timing.SECONDS", 0.05)
    config = tiny_experiment("gpt2", tmp_path, *LIMITED)
    plan, prepared = build_plan(config, measure=True), prepare(config)
    length, spent = plan.length, plan.time
    assert length.examples == round(0.25 * len(prepared.train)) and length.evaluated == 4
    assert length.passes == pytest.approx(3, abs=4 / length.examples)
    assert length.per_step["tokens"] == 4 * 16
    assert train(config).step == length.steps
    assert prepared.test is not None and spent is not None
    evaluations = len(plan.schedule.evaluations) + round(0.5 * len(prepared.test)) / 4
    assert spent.evaluations == pytest.approx(evaluations * spent.evaluation)


AVERAGED = ("training.ema_decay=0.9", "training.save_steps=2", "training.eval_steps=3")


def test_the_average_of_the_weights_is_on_the_disk(tmp_path: Path) -> None:
    config = tiny_experiment("lstm", tmp_path, *AVERAGED)
    disk, plain = build_plan(config).disk, build_plan(without_average(config)).disk
    train(config)
    checkpoints = config.output_dir / "checkpoints"
    average = (checkpoints / "step-00000002/average.safetensors").stat().st_size
    assert disk.checkpoint - plain.checkpoint == pytest.approx(average, rel=0.02)
    left = sum(map(bytes_of, (checkpoints, *config.output_dir.glob("model*"))))
    assert (disk.models, plain.models) == (2, 1)
    assert disk.in_all == pytest.approx(left, rel=0.03, abs=5 * 20_000)


def without_average(config: Any) -> Any:
    training = config.training.model_copy(update={"ema_decay": None})
    return config.model_copy(update={"training": training})


def test_the_average_of_the_weights_takes_memory(tmp_path: Path) -> None:
    config = tiny_experiment("lstm", tmp_path, *AVERAGED)
    found, plain = build_plan(config).memory, build_plan(without_average(config)).memory
    assert (found.average, plain.average) == (found.weights, 0)
    assert found.activations == plain.activations
    assert found.peak is not None and plain.peak is not None
    assert found.peak - plain.peak == found.weights


def test_the_average_of_the_weights_is_measured_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_foundry.planning.timing.SECONDS", 0.05)
    monkeypatch.setattr("model_foundry.planning.timing._time_evaluation", lambda *_: 1.5)
    config = tiny_experiment("lstm", tmp_path, *AVERAGED)
    plan, plain = build_plan(config, measure=True), build_plan(config)
    assert plan.time is not None
    assert (plan.time.evaluation, plan.time.evaluations) == (3.0, 6.0)
    assert plan.time.checkpoints == pytest.approx(5 * plan.time.checkpoint)
    assert plan.disk.checkpoint == pytest.approx(plain.disk.checkpoint, abs=20_000)
    assert plan.memory.average > 30_000


def test_nothing_is_written_when_it_is_measured(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("model_foundry.planning.timing.SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)
    config = tiny_experiment("lstm", tmp_path, "training.save_steps=2", "training.eval_steps=3")
    announced: list[str] = []
    plan = build_plan(config, measure=True, announce=announced.append)
    assert list(tmp_path.iterdir()) == []
    spent = plan.time
    assert spent is not None
    assert spent.steps_measured >= 5 and spent.step > 0
    assert spent.evaluations == pytest.approx(2 * spent.evaluation)
    assert spent.checkpoints == pytest.approx(4 * spent.checkpoint)
    parts = (spent.start, spent.training, spent.evaluations, spent.checkpoints)
    assert spent.in_all == pytest.approx(sum(parts))
    assert {"measuring: step 3", "measuring: an evaluation", "measuring: a checkpoint"} <= {
        *announced
    }


def test_a_measured_step_that_runs_out_of_memory_names_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Starved(Loop):
        def run(self, until: int | None = None) -> None:
            raise RuntimeError("can't allocate memory")

    monkeypatch.setattr("model_foundry.planning.timing.Loop", Starved)
    with pytest.raises(MemoryExhaustedError, match="in a measured step, with 4 rows x 16 tokens"):
        build_plan(tiny_experiment("lstm", tmp_path), measure=True)


def test_a_model_that_counts_is_planned(tmp_path: Path) -> None:
    with tasks_loaded():
        write_data(tmp_path)
        plan = build_plan(task("bigram", tmp_path))
    assert (plan.parameters.total, plan.memory.gradients, plan.memory.optimizer) == (0, 0, 0)
    assert plan.memory.weights > 0 and plan.compute.total is None


@pytest.mark.parametrize("kind", ["arrays", "pairs"])
def test_the_task_of_a_plugin_is_planned(kind: str, tmp_path: Path) -> None:
    with tasks_loaded():
        write_data(tmp_path)
        config = task(kind, tmp_path)
        plan = build_plan(config)
        assert plan.parameters.total == train(config).parameters
    assert plan.compute.per_position is None and plan.vocabulary is None
    assert plan.compute.counted_per_example is not None and plan.compute.total is not None


def test_states_are_carried(tmp_path: Path) -> None:
    settings = ("data.packing=streams", "training.carry_state=true")
    plan = build_plan(tiny_experiment("lstm", tmp_path, *settings), measure=False)
    assert plan.memory.peak is not None


def test_a_step_that_runs_out_of_memory_is_a_risk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak_of_step(trial: Trial, rows: int) -> int:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(Trial, "peak_of_step", peak_of_step)
    plan = build_plan(tiny_experiment("lstm", tmp_path), measure=True)
    assert (plan.memory.peak, plan.time, plan.largest_batch) == (None, None, None)
    assert "no step could be tried" in next(r.text for r in plan.risks if r.name == "memory")


def test_a_model_larger_than_the_memory_is_certain_to_fail(tmp_path: Path) -> None:
    sizes = "model.rnn={hidden_size: 300000, embedding_size: 300000, num_layers: 4}"
    plan = build_plan(tiny_experiment("lstm", tmp_path, sizes))
    assert plan.fails and plan.parameters.total > 10**12
    assert plan.memory.gradients == plan.memory.weights > 10**12


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.init_from=none", "model.init_from: none: no such directory"),
        ("training.warmup_steps=9", "training.warmup_steps"),
        ("training.gradient_checkpointing=true", "training.gradient_checkpointing"),
    ],
)
def test_mistakes_are_those_of_training(override: str, said: str, tmp_path: Path) -> None:
    if "gradient_checkpointing" in override:
        with tasks_loaded():
            write_data(tmp_path)
            with pytest.raises(ConfigError, match=said):
                build_plan(task("arrays", tmp_path, override))
        return
    with pytest.raises(ConfigError, match=said):
        build_plan(tiny_experiment("gpt2", tmp_path, override))
