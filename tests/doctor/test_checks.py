"""The doctor finds no fault in a sound experiment, and each of its checks can fail."""

import functools
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from model_foundry.architectures import BaseModel
from model_foundry.architectures.gpt import GPT2Model
from model_foundry.architectures.modeling.modeling_recurrent import RecurrentForCausalLM
from model_foundry.cli import main
from model_foundry.config import (
    ARCHITECTURES,
    METRICS,
    ArchitectureSpec,
    ExperimentConfig,
    save_config,
)
from model_foundry.doctor import checks, disk, findings, small_experiment
from model_foundry.doctor.checks import examine, ties
from model_foundry.doctor.small_experiment import SmallExperiment
from model_foundry.errors import ConfigError, Interrupted
from model_foundry.experiment.checkpointer import Checkpointer
from model_foundry.foundation.interrupts import handle_signals
from model_foundry.foundation.locks import exclusive
from model_foundry.foundation.tested_versions import LIBRARIES, PINNED, run_with
from model_foundry.model import create_model
from model_foundry.objectives import Metric, register_metric
from model_foundry.training.step_batches import StepBatch
from tests.experiments import MODELS, tiny_experiment

DISEASES = (
    "attention",
    "tokenizer",
    "initial loss",
    "padding",
    "generation",
    "accumulation",
    "resumption",
    "tied weights",
    "disk",
)


def healthy(directory: Path, kind: str = "gpt2") -> ExperimentConfig:
    return tiny_experiment(kind, directory, "training.gradient_accumulation_steps=2")


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_sound_experiment_has_nothing_wrong_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    findings = list(examine(healthy(tmp_path, kind)))
    assert [f for f in findings if f.good is False] == []
    assert [f.name for f in findings if f.name in DISEASES] == list(DISEASES)
    assert list(tmp_path.iterdir()) == []


def test_another_task_is_refused_with_the_command_that_tries_it(tmp_path: Path) -> None:
    given = ("data.train=texts.csv", "training.objective=sequence_classification")
    with pytest.raises(ConfigError, match="checks language models; `foundry validate` tries"):
        list(examine(tiny_experiment("gpt2", tmp_path, *given)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_an_experiment_a_small_one_is_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert all(finding.good is not False for finding in examine())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "used", "good", "figure"),
    [
        (("attn_implementation",), "sdpa", True, "sdpa"),
        (("attn_implementation",), "eager", False, "eager, but the settings ask for sdpa"),
        ((), "eager", None, "eager, by its own choice"),
        ((), None, None, "mine has none"),
    ],
)
def test_attention_is_judged_where_the_settings_choose_it(
    settings: tuple[str, ...], used: str | None, good: bool | None, figure: str
) -> None:
    config = SimpleNamespace(
        model=SimpleNamespace(architecture="mine"),
        training=SimpleNamespace(attn_implementation="sdpa"),
    )
    trial: Any = SimpleNamespace(untrained=SimpleNamespace(attention_in_use=used), config=config)
    ARCHITECTURES.add(ArchitectureSpec(name="mine", target="m:x", settings=settings))
    try:
        assert checks.attention(trial) == (good, figure)
    finally:
        ARCHITECTURES.remove("mine")


def test_a_faulty_metric_is_told_as_such_and_as_no_leak(tmp_path: Path) -> None:
    class Odd(Metric):
        """A metric of a plugin that gives no tensor."""

        def sums(self, done: Any) -> Any:
            return 1.0

        def result(self, sums: Any) -> float:
            return 1.0

    register_metric("odd", greater_is_better=True)(Odd)
    try:
        config = tiny_experiment("gpt2", tmp_path, "training.metrics=[loss, odd]")
        with pytest.raises(ConfigError, match=r"Odd\.sums: must return a tensor, got 1\.0"):
            list(examine(config))
    finally:
        METRICS.remove("odd")
    assert list(tmp_path.iterdir()) == []


def ill(name: str, patch: pytest.MonkeyPatch) -> None:
    """Break what the check of this name inspects."""
    forward = GPT2Model.forward
    if name == "attention":
        patch.setattr(GPT2Model, "attention_in_use", "eager")
    elif name == "tokenizer":
        made = small_experiment.create_model

        def make(*args: Any, **kwargs: Any) -> Any:
            model = made(*args, **kwargs)
            model.resize_token_embeddings(299)
            return model

        patch.setattr(small_experiment, "create_model", make)
    elif name == "initial loss":

        def loud(self: Any, input_ids: torch.Tensor, *rest: Any, **kwargs: Any) -> Any:
            output = forward(self, input_ids, *rest, **kwargs)
            output.loss = None if output.loss is None else output.loss + 1
            return output

        patch.setattr(GPT2Model, "forward", loud)
    elif name == "padding":

        def blind(self: Any, input_ids: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
            return forward(self, input_ids, **kwargs)

        patch.setattr(GPT2Model, "forward", blind)
    elif name == "generation":
        forget(patch, GPT2LMHeadModel)
    elif name == "accumulation":
        # the mean over micro-batches, however many labels each has
        count = StepBatch.of
        patch.setattr(StepBatch, "of", lambda batches, objective: count(batches[:1], objective))
    elif name == "resumption":
        patch.setattr(Checkpointer, "restore", lambda self, *given: None)
    elif name == "tied weights":
        load = checks.load_model

        def untied(directory: Path) -> Any:
            model = load(directory)
            head = model.hf_model.lm_head
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
            return model

        patch.setattr(checks, "load_model", untied)
    else:
        usage = disk.shutil.disk_usage(".")._replace(free=100)
        patch.setattr(disk.shutil, "disk_usage", lambda path: usage)


def forget(patch: pytest.MonkeyPatch, model: type) -> None:
    """Let a model lose its state in silence, as if its argument had another name."""
    forward = model.forward  # type: ignore[attr-defined]

    @functools.wraps(forward)  # what reads its signature sees no difference
    def forgetful(self: Any, *args: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        kwargs.pop("cache", None)
        return forward(self, *args, **kwargs)

    patch.setattr(model, "forward", forgetful)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_recurrent_state_that_is_lost_in_silence_is_found(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch, RecurrentForCausalLM)
    trial = SmallExperiment.of(healthy(tmp_path, kind), tmp_path)
    good, figure = checks.generation(trial)
    assert good is False
    assert "tokens differ between cached and uncached generation" in figure


def test_models_that_fill_masks_have_no_generation_to_compare(tmp_path: Path) -> None:
    assert checks.generation(SmallExperiment.of(healthy(tmp_path, "bert"), tmp_path)) == (
        None,
        "bert fills masks",
    )


@pytest.mark.parametrize(
    ("version", "good", "said"),
    [
        ("99.1", None, "transformers 99.1 is newer than any that was tested (up to "),
        ("4.57.6", False, "transformers 4.57.6 is older than any that was tested; install >= "),
    ],
)
def test_library_of_a_version_that_was_not_tested_is_named(
    version: str, good: bool | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = run_with()[PINNED]
    installed = {library: pinned[library] for library in LIBRARIES} | {"transformers": version}
    monkeypatch.setattr(findings, "installed_versions", lambda: installed)
    finding = findings.libraries()
    assert finding.good is good
    assert said in finding.figure


@pytest.mark.slow
@pytest.mark.parametrize("name", DISEASES)
def test_each_check_finds_its_disease(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ill(name, monkeypatch)
    found = {finding.name: finding for finding in examine(healthy(tmp_path))}
    assert found[name].good is False, found[name]


def test_slow_precision_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (checks, small_experiment):
        monkeypatch.setattr(module, "slowdown_of_bf16", lambda: 30.0)
    config = tiny_experiment("gpt2", tmp_path, "training.mixed_precision=bf16")
    found = {finding.name: finding for finding in examine(config)}
    assert found["precision"].good is False
    assert (
        "30 times slower on this CPU; set training.mixed_precision=no" in found["precision"].figure
    )
    assert found["resumption"].good
    assert SmallExperiment.of(config, tmp_path).config.training.mixed_precision == "no"
    monkeypatch.setattr(checks, "slowdown_of_bf16", lambda: 0.5)
    assert checks.precision(SmallExperiment.of(config, tmp_path))[0]


def test_experiment_that_cannot_be_trained_is_refused_at_once(tmp_path: Path) -> None:
    config = tiny_experiment(
        "gpt2",
        tmp_path,
        "training.max_steps=null",
        "training.epochs=1",
        "training.warmup_steps=5000",
    )
    with pytest.raises(ConfigError, match=r"training\.warmup_steps: must be <= the \d+ steps"):
        list(examine(config))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_doctor_left_is_removed_but_not_what_a_busy_one_uses(tmp_path: Path) -> None:
    left, busy = tmp_path / ".doctor-left", tmp_path / ".doctor-busy"
    for directory in (left, busy):
        directory.mkdir()
        (directory / "large").touch()
    with exclusive(busy / ".lock"):
        next(examine(healthy(tmp_path)))
        assert not left.exists() and (busy / "large").exists()


def test_signal_stops_the_doctor_and_leaves_nothing(tmp_path: Path) -> None:
    def stop(name: str) -> None:
        if name == "padding":
            os.kill(os.getpid(), signal.SIGTERM)

    with handle_signals(), pytest.raises(Interrupted):
        for _ in examine(healthy(tmp_path), announce=stop):
            pass
    assert list(tmp_path.iterdir()) == []


def test_check_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trial: SmallExperiment) -> Any:
        raise RuntimeError("out\nof order")

    monkeypatch.setitem(checks.CHECKS, "padding", broken)
    found = {finding.name: finding for finding in examine(healthy(tmp_path))}
    assert found["padding"].good is False
    assert found["padding"].figure == "RuntimeError: out of order"
    assert found["disk"].good


@pytest.mark.slow
def test_command_prints_a_line_a_check_and_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.yaml").write_text(save_config(healthy(tmp_path)))
    monkeypatch.setattr(sys, "argv", ["foundry", "doctor", str(tmp_path / "my.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert [line.split()[0] for line in lines if line.startswith("good")] == ["good"] * 12
    monkeypatch.setattr(Checkpointer, "restore", lambda self, *given: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "BAD  resumption" in capsys.readouterr().out


def test_checkpoints_are_counted_with_their_milestones(tmp_path: Path) -> None:
    config = tiny_experiment(
        "gpt2",
        tmp_path,
        "training.max_steps=1000",
        "training.save_steps=100",
        "training.save_total_limit=3",
        "training.milestones.logarithmic=250",
    )
    small = SmallExperiment.of(config, tmp_path)
    # 1 2 4 8 16 32 64 128 250 500 750 1000, and three to resume from beside the next
    assert disk._checkpoints(small) == 12 + 4


def test_ties_name_what_is_one_tensor(tmp_path: Path) -> None:
    model = create_model(healthy(tmp_path), vocab_size=50)
    assert ties(model) == {("hf_model.lm_head.weight", "hf_model.transformer.wte.weight")}


@pytest.mark.parametrize(
    ("cls", "facts", "skipped", "reason"),
    [
        (BaseModel, {}, checks.OF_TOKENS, "gpt2 is no language model"),
        (
            GPT2Model,
            {"other_kinds": {"encoder_decoder": "a:B"}},
            checks.OF_TOKENS,
            "gpt2 is no language model",
        ),
        (GPT2Model, {"trained_by": "counting"}, checks.OF_GRADIENTS, "gpt2 learns by counting"),
    ],
)
def test_a_check_that_does_not_apply_is_not_made(
    cls: type[BaseModel],
    facts: dict[str, Any],
    skipped: tuple[str, ...],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = replace(ARCHITECTURES["gpt2"], **facts)
    monkeypatch.setitem(ARCHITECTURES._specs, "gpt2", spec)
    monkeypatch.setitem(ARCHITECTURES._implementations, "gpt2", cls)
    monkeypatch.setattr(checks, "CHECKS", dict.fromkeys(checks.CHECKS, lambda trial: (True, "")))
    model = SimpleNamespace(architecture="gpt2")
    training = SimpleNamespace(objective="seq2seq_lm" if "other_kinds" in facts else "causal_lm")
    trial: Any = SimpleNamespace(config=SimpleNamespace(model=model, training=training))
    for name in checks.CHECKS:
        expected = (None, reason) if name in skipped else (True, "")
        assert checks._verdict(trial, name) == expected
