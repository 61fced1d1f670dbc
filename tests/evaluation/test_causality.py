"""Models that read their targets, each in another way, and models that do not."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
import torch
import yaml
from torch import Tensor, nn

from model_foundry.architectures import BaseLanguageModel, ModelOutput
from model_foundry.architectures.losses import language_model_loss
from model_foundry.cli import main
from model_foundry.config import ARCHITECTURES, OBJECTIVES
from model_foundry.data.batches.examples import Examples
from model_foundry.data.batches.loaders import evaluation_batches
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.doctor.same_run import differences
from model_foundry.errors import ConfigError
from model_foundry.evaluation.causality import find_leak
from model_foundry.experiment.train import train
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.model import create_model
from model_foundry.objectives import Prepared, language
from model_foundry.objectives.language import text_splits
from model_foundry.objectives.preparation import prepare
from tests.experiments import MASKED, MODELS, tiny_experiment


class Honest(BaseLanguageModel):
    """A causal model of the current and the previous token."""

    model_type = "small"
    supports_generation = True
    causal = True

    def __init__(self, vocab_size: int = 300) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 8)
        self.dropout = nn.Dropout(0.3)
        self.gate = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm1d(8, affine=False)
        self.output = nn.Linear(8, vocab_size)

    @classmethod
    def from_config(cls, *given: Any, vocab_size: int | None = None, **known: Any) -> Self:
        return cls(vocab_size or 300)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        x = self.embed(input_ids)  # (B, T, E)
        x = x + nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        logits = self.output(self.mixed(self.dropout(x), labels))
        return ModelOutput(loss=self.loss(logits, labels), logits=logits)

    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x

    def loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        return language_model_loss(logits, labels, causal=self.causal)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        raise NotImplementedError


class Ahead(Honest):
    """Reads the next token, like a convolution padded on both sides."""

    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x + nn.functional.pad(x, (0, 0, 0, 1))[:, 1:]


class FarAhead(Honest):
    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x + nn.functional.pad(x, (0, 0, 0, 6))[:, 6:]


class Pooled(Honest):
    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x + x.mean(1, keepdim=True)


class InPieces(Honest):
    """Reads in both directions within pieces of four tokens."""

    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        pieces = x.unflatten(1, (-1, 4))
        return (pieces + pieces.mean(2, keepdim=True)).flatten(1, 2)


class Gated(Honest):
    """Reads the next token when its gate, initially zero, opens."""

    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x + self.gate * nn.functional.pad(x, (0, 0, 0, 1))[:, 1:]


class Normalised(Honest):
    """Normalises over all positions of all rows, but only in training."""

    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        normalised: Tensor = self.norm(x.mT).mT
        return normalised


class Unshifted(Honest):
    """Scores the logits of each token with the token itself."""

    def loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        return language_model_loss(logits, labels, causal=False)


class ByLabels(Honest):
    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x if labels is None else x + self.embed(labels.clamp(min=0))


class AcrossRows(Honest):
    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x + x.mean(0, keepdim=True).cumsum(1)


class Rounding(Honest):
    """Differs by rounding errors of a transform over all positions."""

    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        transformed: Tensor = torch.fft.irfft(torch.fft.rfft(x, dim=1), n=x.shape[1], dim=1)
        return transformed


class Unsteady(Honest):
    """Returns slightly different results for equal inputs."""

    calls = 0

    def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
        self.calls += 1
        return x * (1 + 1e-3 * (self.calls % 3))


class BothWays(Ahead):
    """A masked model, which may read later tokens."""

    supports_generation = False
    causal = False


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tiny_experiment("gpt2", tmp_path_factory.mktemp("causal")))


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tiny_experiment("bert", tmp_path_factory.mktemp("masked")))


def inputs_of(prepared: Prepared, rows: TokenExamples | None = None) -> dict[str, Tensor]:
    """Return the inputs of the first rows of the training text."""
    rows = (rows or text_splits(prepared)["train"]).first(8)
    return next(evaluation_batches(rows, prepared.collate, batch_size=8)).inputs


def leak_of(
    model: BaseLanguageModel, prepared: Prepared, rows: TokenExamples | None = None, **known: Any
) -> str | None:
    inputs = inputs_of(prepared, rows)
    inputs.pop("scored_bytes")
    causal = {"causal": model.supports_generation}
    named = {"scored": prepared.objective.scored, "objective_name": "Named"}
    return find_leak(model, inputs, **(causal | named | known))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Ahead, "its logits at position 0 depend on the token at position 1:"),
        (FarAhead, "its logits at position 0 depend on the token at position 5:"),
        (Pooled, "its logits at position 0 depend on the token at position 1:"),
        (InPieces, "its logits at position 0 depend on the token at position 1:"),
        (Gated, "its logits at position 0 depend on the token at position 1:"),
        (Normalised, "depend on the token at position 1 in training, though not in evaluation"),
        (Unshifted, "its loss of the token at position 1 depends on that token in the input"),
        (ByLabels, "its output depends on its labels"),
        (AcrossRows, "its output for row 1 depends on the tokens of row 0"),
    ],
)
def test_each_way_to_read_a_target_is_found(
    kind: type[Honest], said: str, prepared: Prepared
) -> None:
    leak = leak_of(kind(), prepared)
    assert leak is not None and said in leak
    assert leak.startswith("model.architecture (=small): ") and "\n" not in leak


@pytest.mark.parametrize("kind", [Honest, Rounding, Unsteady])
def test_models_without_a_leak_pass(kind: type[Honest], prepared: Prepared) -> None:
    assert leak_of(kind(), prepared) is None


@pytest.mark.parametrize("number", [1, 2])
def test_a_text_of_one_row_is_enough(number: int, prepared: Prepared) -> None:
    rows = prepared.train.first(number)
    assert leak_of(Honest(), prepared, rows) is None
    assert "position 1" in str(leak_of(Ahead(), prepared, rows))
    assert "row 0" in str(leak_of(AcrossRows(), prepared, rows))


def test_a_masked_model_may_read_later_tokens(masked: Prepared) -> None:
    assert leak_of(BothWays(), masked) is None

    class Copying(BothWays, ByLabels):
        mixed = ByLabels.mixed

    assert "depends on its labels" in str(leak_of(Copying(), masked))


def test_a_collator_that_masks_nothing_is_found(masked: Prepared) -> None:
    def showing(examples: Examples) -> dict[str, Tensor]:
        batch = masked.collate(examples)
        scored = batch["labels"] != IGNORE_INDEX
        batch["input_ids"] = torch.where(scored, batch["labels"], batch["input_ids"])
        return batch

    leak = leak_of(BothWays(), replace(masked, collate=showing))
    assert leak is not None
    assert leak.startswith("training.objective: 100% of the targets are visible")
    assert leak.endswith("correct the collator of Named")


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_built_in_models_leak_nothing(
    kind: str, prepared: Prepared, masked: Prepared, tmp_path: Path
) -> None:
    """Also with packed documents, that is padding and masks."""
    config = tiny_experiment(kind, tmp_path, "data.packing=documents")
    data = prepare(config)
    model = create_model(config, tokenizer=data.tokenizer)
    causal = OBJECTIVES[config.training.objective].direction == "left_to_right"
    assert causal is (kind not in MASKED)
    joined = masked if kind in MASKED else prepared
    for texts in (data, joined):
        assert leak_of(model, texts, causal=causal) is None


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_carried_states_leak_nothing(kind: str, tmp_path: Path) -> None:
    config = tiny_experiment(kind, tmp_path, "data.packing=streams", "training.carry_state=true")
    data = prepare(config)
    model = create_model(config, tokenizer=data.tokenizer)
    assert leak_of(model, data, causal=True, carry_state=True) is None


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@pytest.mark.parametrize("kind", [Honest, Normalised, Gated])
@pytest.mark.parametrize("training", [True, False])
def test_the_check_changes_nothing(kind: type[Honest], training: bool, prepared: Prepared) -> None:
    model = kind().train(training)
    model.norm.eval()
    before = {name: tensor.clone() for name, tensor in tensors(model)}
    state = torch.get_rng_state()
    leak_of(model, prepared)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name for name, _ in tensors(model)} == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(model))
    assert (model.training, model.dropout.training) == (training, training)
    assert model.norm.training is False
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_leak_is_an_error_of_the_configuration(prepared: Prepared) -> None:
    prepared.objective.check_model(Honest(), prepared)
    with pytest.raises(ConfigError, match="logits at position 0 depend on the token") as caught:
        prepared.objective.check_model(Ahead(), prepared)
    assert caught.value.exit_code == 2


def test_half_precision_has_a_larger_tolerance(prepared: Prepared) -> None:
    class Halved(Rounding):
        def mixed(self, x: Tensor, labels: Tensor | None) -> Tensor:
            return x + 1e-3 * x.mean(1, keepdim=True)

    assert leak_of(Halved(), prepared) is not None
    assert leak_of(Halved(), prepared, half=True) is None
    assert leak_of(Ahead(), prepared, half=True) is not None


def test_all_architectures_are_checked() -> None:
    language = [a for a in ARCHITECTURES.values() if a.kind == "language"]
    own = {a.name for a in language if a.target.startswith("model_foundry.")}
    assert {model["architecture"] for model in MODELS.values()} == own


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "lstm", "bert"])
def test_the_check_changes_no_bit_of_a_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, which uses the global random generators."""
    runs = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(language, "require_no_leak", lambda *given, **known: None)
        config = tiny_experiment(kind, tmp_path / name, "training.max_steps=3")
        runs.append(train(config).output_dir)
    assert differences(*runs) == []


PLUGIN = """
from model_foundry.architectures import register_architecture
from tests.evaluation.test_causality import Ahead

register_architecture("reads_ahead")(Ahead)
"""


def test_a_plugin_that_reads_ahead_is_refused_and_reported_by_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    raw = tiny_experiment("gpt2", tmp_path).model_dump(mode="json", exclude_unset=True)
    raw["model"] = {"architecture": "reads_ahead"}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(raw))
    printed = {}
    for command, code in (("train", 2), ("doctor", 1)):
        given = [command, str(tmp_path / "my.yaml"), "--plugin", str(tmp_path / "plugin.py")]
        monkeypatch.setattr(sys, "argv", ["foundry", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        printed[command] = capsys.readouterr()
    said = "its logits at position 0 depend on the token at position 1"
    (line,) = (line for line in printed["train"].err.splitlines() if line.startswith("error"))
    assert said in line
    (finding,) = (n for n in printed["doctor"].out.splitlines() if n.startswith("BAD  leaks"))
    assert said in finding
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
