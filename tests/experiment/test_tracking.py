"""Runs with trackers: the same weights, the right figures, and errors before anything starts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from model_foundry import train
from model_foundry.config import TRACKERS, settings_without_effect
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.on_resume import OnResume, marked
from model_foundry.errors import ConfigError, Interrupted
from model_foundry.experiment import check
from model_foundry.foundation.failpoints import watching
from model_foundry.training.histograms import PendingHistograms
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.sinks import Line
from model_foundry.training.trackers import TrackedRun, Tracker, register_tracker
from tests.children import KILLED, Fault, in_child, striking
from tests.experiments import tiny_experiment

EVERYTHING = (
    "tracking.trackers=[kept]",
    "tracking.histogram_steps=2",
    "tracking.activations=true",
    "tracking.samples={prompts: ['The', 'A [MASK] dog'], max_new_tokens: 5}",
    "training.eval_steps=3",
    "training.save_steps=4",
)


class Kept(Tracker):
    """Keeps what it is told, in a file too."""

    runs: ClassVar[list["Kept"]] = []

    def __init__(self, section: Any, run: TrackedRun) -> None:
        super().__init__(section, run)
        self.told: list[tuple[Any, ...]] = []
        self.runs.append(self)

    def write(self, step: int, values: Mapping[str, float | str]) -> None:
        self.told.append(("write", step, dict(values)))

    def rewind(self, step: int) -> None:
        self.told.append(("rewind", step))

    def replay(self, lines: Sequence[Line]) -> None:
        self.told.append(("replay", [line.step for line in lines]))

    def histograms(self, step: int, pending: PendingHistograms) -> None:
        self.told.append(("histograms", step, pending.counted()))

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        self.told.append(("texts", step, dict(texts)))

    def close(self) -> None:
        self.told.append(("close", self.run.state()))
        with (self.run.directory.parent / "told.txt").open("a") as file:
            file.write(f"{[told for told in self.told if told[0] in ('rewind', 'replay')]}\n")

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [told[1:] for told in self.told if told[0] == kind]


@pytest.fixture(autouse=True)
def kept() -> Iterator[list[Kept]]:
    register_tracker("kept", takes=("histograms", "texts"))(Kept)
    Kept.runs.clear()
    yield Kept.runs
    TRACKERS.remove("kept")


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "run" / "model" / "model.safetensors")


@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm"])
def test_a_tracked_run_has_the_weights_of_any_other(
    kind: str, tmp_path: Path, kept: list[Kept]
) -> None:
    dropout = () if kind == "lstm" else ("model.transformer.dropout=0.1",)
    settings = (*dropout, *EVERYTHING[4:])
    train(tiny_experiment(kind, tmp_path / "plain", *settings))
    train(tiny_experiment(kind, tmp_path / "tracked", *dropout, *EVERYTHING))
    plain, tracked = weights(tmp_path / "plain"), weights(tmp_path / "tracked")
    assert plain.keys() == tracked.keys()
    assert all(torch.equal(plain[name], tracked[name]) for name in plain)
    (tracker,) = kept
    log = read_metrics(tmp_path / "tracked" / "run" / "metrics.jsonl")
    assert [(step, values) for step, values in tracker.of("write")] == [
        (line["step"], {name: value for name, value in line.items() if "/" in name}) for line in log
    ]
    assert any(name.startswith("activations/") for name in log[-1])
    assert tracker.of("close") == [("completed",)]


def test_histograms_are_of_every_weight_and_its_gradient(tmp_path: Path, kept: list[Kept]) -> None:
    train(tiny_experiment("gpt2", tmp_path, *EVERYTHING, "training.max_steps=4"))
    (tracker,) = kept
    assert [step for step, _ in tracker.of("histograms")] == [2, 4]
    last = tracker.of("histograms")[-1][1]
    trained = weights(tmp_path)
    tensor = next(each for name, each in trained.items() if name.endswith("wpe.weight"))
    (name,) = (name for name in last if name.endswith("wpe.weight") and name.startswith("weights"))
    assert last[name].number == tensor.numel()
    assert (last[name].edges[0], last[name].edges[-1]) == (tensor.min(), tensor.max())
    of_weights, of_gradients = (
        {each.partition("/")[2] for each in last if each.startswith(kind)}
        for kind in ("weights/", "gradients/")
    )
    assert of_weights == of_gradients


def test_samples_are_written_at_each_evaluation(tmp_path: Path, kept: list[Kept]) -> None:
    train(tiny_experiment("bert", tmp_path, *EVERYTHING))
    lines = (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line) for line in lines]
    assert [(line["step"], line["name"]) for line in samples] == [
        *((3, "samples/0"), (3, "samples/1"), (6, "samples/0"), (6, "samples/1")),
    ]
    assert not any("[MASK]" in line["text"] for line in samples)
    assert [step for step, _ in kept[0].of("texts")] == [3, 6]


def test_a_prompt_that_is_too_long_ends_the_samples_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = "tracking.samples={prompts: ['the old dogs see the old dogs near the old dogs']}"
    result = train(tiny_experiment("gpt2", tmp_path, prompt, "training.eval_steps=3"))
    assert result.step == 6
    (warning,) = [line for line in caplog.messages if "samples" in line]
    assert "prompt: has" in warning and "goes on without samples" in warning


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("no such cache"), "no such cache"), (MemoryError(), "out of memory while texts")],
)
def test_samples_that_fail_do_not_end_the_run(
    error: Exception,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("model_foundry.experiment.samples.generate_texts", fail)
    settings = ("tracking.samples={prompts: [The]}", "training.eval_steps=3")
    result = train(tiny_experiment("gpt2", tmp_path, *settings))
    assert result.step == 6
    (warning,) = [line for line in caplog.messages if "samples" in line]
    assert said in warning and "goes on without samples" in warning


def test_an_interruption_of_samples_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise Interrupted("SIGINT: stopped")

    monkeypatch.setattr("model_foundry.experiment.samples.generate_texts", interrupt)
    settings = ("tracking.samples={prompts: [The]}", "training.eval_steps=3")
    with pytest.raises(Interrupted):
        train(tiny_experiment("gpt2", tmp_path, *settings))


def test_activations_are_those_of_the_own_weights_beside_an_average(tmp_path: Path) -> None:
    settings = ("tracking.activations=true", "training.eval_steps=3", "training.max_steps=3")
    logs = []
    for name, more in (("plain", ()), ("averaged", ("training.ema_decay=0.999",))):
        result = train(tiny_experiment("gpt2", tmp_path / name, *settings, *more))
        logs.append(read_metrics(result.output_dir / "metrics.jsonl")[-1])
    plain, averaged = (
        {name: value for name, value in log.items() if name.startswith("activations/")}
        for log in logs
    )
    assert plain and averaged == plain


def attempt(directory: Path) -> None:
    """Die in step 5, after the checkpoint of step 4; the next attempt ends."""
    register_tracker("kept", takes=("histograms", "texts"))(Kept)
    fault = None if (directory / "run").exists() else Fault("step 5 made")
    with watching(striking(fault)):
        train(tiny_experiment("gpt2", directory, *EVERYTHING, "training.eval_steps=2"))


@pytest.mark.slow
def test_a_resumed_run_continues_its_trackers(tmp_path: Path) -> None:
    in_child(attempt, tmp_path, code=KILLED)
    in_child(attempt, tmp_path, code=0)
    (told,) = (tmp_path / "told.txt").read_text().splitlines()
    record = json.loads((tmp_path / "run" / "trackers.json").read_text())
    assert record["kept"]["step"] == record["samples"]["step"] == 6
    (_, since), *_ = rewound = [tuple(each) for each in eval(told)]
    assert since in (0, 4)  # as far as the killed process had come
    assert rewound[1] == ("replay", [4] if since else [1, 2, 2, 3, 4])
    lines = (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps in ([2, 2, 4, 4, 6, 6], [4, 4, 6, 6])


@pytest.mark.parametrize("do", [train, check])
def test_a_tracker_whose_package_is_missing_is_one_line(do: Any, tmp_path: Path) -> None:
    config = tiny_experiment("rnn", tmp_path, "tracking.trackers=[swanlab]")
    with pytest.raises(ConfigError) as refused:
        do(config)
    assert str(refused.value) == (
        "config: tracking.trackers.0: 'swanlab' needs swanlab, which cannot be imported; "
        "pip install 'swanlab'"
    )
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused_when_it_is_to_be_used(tmp_path: Path) -> None:
    config = tiny_experiment("rnn", tmp_path, "tracking.trackers=[tensorbord]")
    with pytest.raises(ConfigError, match="Unknown tracker: 'tensorbord'; did you mean"):
        train(config)


@pytest.mark.parametrize(
    ("setting", "law"),
    [
        ("tracking.wandb={projekt: x}", "did you mean 'project'?"),
        ("tracking.samples={prompts: []}", "tracking.samples.prompts"),
        ("tracking.samples={prompts: [a], temperature: 0.001}", "must be 0, or from 0.01 to 100"),
        ("tracking.elsewhere={}", "unknown key"),
    ],
)
def test_wrong_settings_are_refused(setting: str, law: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tracking") as refused:
        tiny_experiment("rnn", tmp_path, setting)
    assert law in str(refused.value)


@pytest.mark.parametrize(
    "setting", ["tracking.histogram_steps=2", "tracking.samples={prompts: [a]}"]
)
def test_sharded_weights_have_no_histograms_and_no_samples(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs whole weights"):
        tiny_experiment("rnn", tmp_path, setting, "training.distributed.strategy=fsdp2")


def test_histograms_that_no_tracker_takes_have_no_effect(tmp_path: Path) -> None:
    config = tiny_experiment("rnn", tmp_path, "tracking.histogram_steps=2")
    (line,) = settings_without_effect(config)
    assert line.startswith("tracking.histogram_steps has no effect: none of tracking.trackers")


def test_a_resumed_run_may_change_its_tracking() -> None:
    assert "tracking" in marked(OnResume.FREE, ExperimentConfig)
