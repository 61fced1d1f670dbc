"""A mistake in a plugin is reported with its file and line, before the text is read."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.architectures import ModelOutput, load_plugin
from model_foundry.architectures.plugin_check import check_without_data, trial_step
from model_foundry.config import ARCHITECTURES, load_config
from model_foundry.errors import ConfigError, DataError
from model_foundry.experiment import check, train
from model_foundry.foundation.plugins import plugin_errors
from model_foundry.registry import UnknownNameError
from tests.architectures.small_models import ArrayClassifier, CountedBigram
from tests.experiments import tiny_experiment

GOOD = """
import torch
from torch import nn
from model_foundry.architectures import BaseLanguageModel, ModelOutput, register_architecture

@register_architecture("mistaken")
class Mistaken(BaseLanguageModel):
    model_type = "mistaken"
    supports_generation = True

    def __init__(self, size):
        super().__init__()
        self.table = nn.Embedding(size, size)

    @classmethod
    def from_config(cls, config, *, vocab_size=None, **ids):
        return cls(vocab_size)

    def forward(self, input_ids, attention_mask=None, labels=None, **kwargs):
        logits = self.table(input_ids)
        loss = None
        if labels is not None:
            shifted = logits[:, :-1].flatten(0, 1)
            loss = nn.functional.cross_entropy(shifted, labels[:, 1:].flatten())
        return ModelOutput(loss=loss, logits=logits)

    def get_input_embeddings(self):
        return self.table

    def resize_token_embeddings(self, new_num_tokens):
        raise NotImplementedError
"""
EXPERIMENT = """
experiment_name: one
data: {train: no_such_corpus.txt}
model: {architecture: mistaken}
training: {max_steps: 2}
"""
MISTAKES = [
    ("logits = self.table(input_ids)", "logits = self.tabel(input_ids)", "Mistaken.forward: Attr"),
    ("        return cls(vocab_size)", "        return cls()", "Mistaken.from_config: TypeError: "),
    ("super().__init__()\n", "pass\n", "Mistaken.from_config: AttributeError: "),
    ("super().__init__()\n", "raise SystemExit(3)\n", "Mistaken.from_config: SystemExit: 3"),
    ("attention_mask=None, labels", "mask, labels", "required positional argument: 'mask'"),
    ("labels=None, **kwargs", "**kwargs", "Mistaken.forward: NameError: "),
    (", labels=None, **kwargs", "", "unexpected keyword argument 'labels'"),
    ("loss=loss, logits=logits", "loss=loss, logits=logits[:, 1:]", "must be (2, 128, 32)"),
    ("if labels is not None:", "if True:", "without labels: TypeError: "),
    ("loss=loss, ", "", "returns no loss that is a scalar"),
    ("loss=loss, logits", "loss=loss.detach(), logits", "returns no loss that is a scalar"),
    (", logits=logits)", ")", "returns no logits"),
    ("logits=logits)", "logits=logits[0])", "returns no logits"),
    ("logits=logits)", "logits=logits[..., :3])", "its logits are of shape (2, 128, 3)"),
    (
        "return ModelOutput(loss=loss, logits=logits)",
        "return None",
        "must return a ModelOutput, got None",
    ),
    (
        "        loss = nn",
        "        logits.register_hook(lambda g: 1 / 0)\n        loss = nn",
        "Zero",
    ),
]


def plugin(folder: Path, *change: str) -> Path:
    path = folder / "mine.py"
    assert not change or change[0] in GOOD
    path.write_text(GOOD.replace(*change) if change else GOOD)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(EXPERIMENT)
    yield tmp_path
    with suppress(UnknownNameError):
        ARCHITECTURES.remove("mistaken")


@pytest.mark.parametrize(("before", "after", "message"), MISTAKES)
def test_a_mistake_is_reported_before_the_text_is_read(
    before: str, after: str, message: str, here: Path
) -> None:
    load_plugin(plugin(here, before, after))
    for use in (check, train):
        with pytest.raises(ConfigError) as caught:
            use(load_config("one.yaml"))
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"plugin {here / 'mine.py'}:")
        assert message in line
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("    def forward(", "    def foward(", "mine.py:6: TypeError: Mistaken cannot be "),
        ("    model_type = ", "    kind = ", "it lacks model_type"),
        ("from torch import nn", "from torch import nm", "mine.py:3: ImportError"),
        ("class Mistaken", "1 / 0\nclass Mistaken", "mine.py:7: SyntaxError: invalid syntax"),
        ("import torch\n", "raise SystemExit(3)\n", "mine.py:2: SystemExit: 3"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_reported_with_its_line(
    before: str, after: str, message: str, here: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plugin(plugin(here, before, after).relative_to(here))
    assert message in str(caught.value)
    assert str(caught.value).startswith("plugin mine.py:")
    assert str(caught.value).count("mine.py") == 1  # not again in the words of Python


def test_a_plugin_that_registers_nothing_is_reported(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_plugin(plugin(here, '@register_architecture("mistaken")', ""))
    message = "registers nothing; a decorator may be missing"
    assert caplog.messages == [f"plugin {here / 'mine.py'}: {message}"]
    caplog.clear()
    (here / "registers.py").write_text(GOOD)
    load_plugin(here / "registers.py")
    assert caplog.messages == []


def test_a_good_plugin_and_ours_pass_and_no_generator_moves(here: Path) -> None:
    load_plugin(plugin(here))
    before = torch.get_rng_state()
    check_without_data(load_config("one.yaml"), torch.device("cpu"))
    check_without_data(tiny_experiment("gpt2", here), torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(DataError, match="no_such_corpus"):
        check(load_config("one.yaml"))


@pytest.mark.parametrize(
    ("last", "error"),
    [("1 / (2 - self.calls)", "ZeroDivisionError"), ("self.calls == 2 and exit(3)", "SystemExit")],
)
def test_an_error_during_training_is_reported_too(last: str, error: str, here: Path) -> None:
    late = "        self.calls = getattr(self, 'calls', 0) + torch.is_grad_enabled()\n"
    late += f"        {last}\n"
    load_plugin(plugin(here, "        logits = ", f"{late}        logits = "))
    (here / "no_such_corpus.txt").write_text("a line of words\n" * 300)
    small = ["data.document=line", "data.max_sequence_length=8", "tokenizer.tokenizer_type=word"]
    with pytest.raises(ConfigError, match=rf"mine\.py:21: {error}"):
        train(load_config("one.yaml", overrides=small))
    assert '"exit_code": 2' in (here / "runs/one/status.json").read_text()


def forward(model: Any, inputs: dict[str, torch.Tensor]) -> ModelOutput:
    return model(**inputs)


BATCH = {"features": torch.arange(10.0).view(2, 5), "labels": torch.tensor([0, 1])}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"forward": lambda self, features: ModelOutput()}, "unexpected keyword argument 'labels'"),
        ({"forward": lambda self, **_: ModelOutput()}, "returns no loss that is a scalar"),
        ({"forward": lambda self, **_: (1, 2)}, "must return a ModelOutput, got tuple"),
        ({"forward": lambda self, **_: 1 / 0}, "ZeroDivisionError"),
        (
            {"forward": lambda self, **_: ModelOutput(loss=torch.tensor(1.0))},
            "no loss that is a scalar with a gradient",
        ),
    ],
)
def test_another_kind_is_tried_on_a_batch(change: dict[str, Any], problem: str) -> None:
    here = {"__module__": __name__}
    model = type("Changed", (ArrayClassifier,), here | change)(4, 5, ["a", "b"])
    with pytest.raises(ConfigError, match=problem) as caught:
        trial_step(model, BATCH, forward)
    assert str(caught.value).startswith(f"plugin {__file__}:")


class Noisy(ArrayClassifier):
    """Changes buffers, its mode and the random generators in each pass."""

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, **inputs: Any) -> ModelOutput:
        self.calls += torch.rand(())
        self.eval()
        return super().forward(**inputs)


def test_a_trial_changes_nothing() -> None:
    model = Noisy(4, 5, ["a", "b"])
    model.output.bias.grad = torch.ones(2)
    random = torch.get_rng_state()
    trial_step(model, BATCH, forward)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.calls == 0 and model.training
    assert torch.equal(model.output.bias.grad, torch.ones(2)) and model.hidden.bias.grad is None
    trial_step(model, {"features": BATCH["features"]}, forward)  # without labels no loss is due


def test_a_model_of_counts_is_tried_too() -> None:
    ids = torch.arange(6)[None]
    model = CountedBigram(6)
    trial_step(model, {"input_ids": ids, "labels": ids}, forward)
    assert not model.table.any()
    broken = type("Broken", (CountedBigram,), {"count": lambda self, **_: 1 / 0})(6)
    with pytest.raises(ConfigError, match=r"Broken\.count: ZeroDivisionError"):
        trial_step(broken, {"input_ids": ids, "labels": ids}, forward)


@pytest.mark.parametrize("error", [MemoryError("x"), RuntimeError("can't allocate memory")])
def test_memory_that_runs_out_is_no_mistake_of_a_plugin(error: Exception, here: Path) -> None:
    with pytest.raises(type(error)), plugin_errors():
        raise error
