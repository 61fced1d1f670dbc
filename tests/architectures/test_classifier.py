"""The heads of texts and tokens: pooling, padding, transformers' own classes as oracles."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2ForSequenceClassification
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from model_foundry.architectures import BaseModel
from model_foundry.architectures.classifier import TextClassifier, TokenClassifier
from model_foundry.architectures.huggingface import HuggingFaceModel
from model_foundry.architectures.modeling.modeling_classifier import label_loss, pooled
from model_foundry.config import ExperimentConfig
from model_foundry.model import load_model
from tests.architectures.model_types import tiny
from tests.experiments import tiny_experiment

HIDDEN = torch.tensor([[[1.0, -9.0], [2.0, -4.0], [3.0, -2.0], [4.0, -1.0]]])
IDS = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NATIVE = ("transformer_decoder", "transformer_encoder")
KINDS = ("gpt2", "bert", "lstm", "bidirectional lstm", *NATIVE)
POOLINGS = ("mean", "max", "last", "cls")


def experiment(kind: str, here: Path) -> ExperimentConfig:
    if kind != "transformer_encoder":
        return tiny_experiment(kind, here)
    backbone = "{layers: 2, hidden_size: 32, attention_heads: 2, positions: rotary}"
    return tiny_experiment("bert", here, f"model={{architecture: {kind}, backbone: {backbone}}}")


def classifier(kind: str, here: Path, head: Any = TextClassifier, **arguments: Any) -> Any:
    """Return a small classifier with weights that make a difference."""
    torch.manual_seed(0)
    labels = {"labels": ["no", "yes", "maybe"], **arguments}
    model = head.from_config(experiment(kind, here), **IDS, **labels)
    nn.init.normal_(model.hf_model.output.weight)
    return model.eval()


def by_its_own_code(directory: Path, auto_class: str) -> Any:
    """Load a directory with the code in it, as a process without this package does."""
    names = json.loads((directory / "config.json").read_text())["auto_map"]
    config_class, model_class = (
        get_class_from_dynamic_module(names[name], directory) for name in ("AutoConfig", auto_class)
    )
    config = config_class.from_pretrained(directory)
    return model_class.from_pretrained(directory, config=config).eval()


def ids(*shape: int) -> Tensor:
    return torch.randint(3, 60, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("cls", [2.0, -4.0]), ("last", [3.0, -2.0]), ("mean", [2.5, -3.0]), ("max", [3.0, -2.0])],
)
def test_pooling_by_hand(pooling: str, expected: list[float]) -> None:
    vector = pooled(HIDDEN, torch.tensor([[0, 1, 1, 0]]), pooling)
    assert vector.tolist() == [expected]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_of_padding_alone_has_finite_states(pooling: str) -> None:
    assert pooled(HIDDEN, torch.zeros(1, 4), pooling).isfinite().all()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_either_side_never_counts(kind: str, pooling: str, tmp_path: Path) -> None:
    model = classifier(kind, tmp_path, pooling=pooling)
    rows = ids(2, 6)
    alone = model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits
    assert torch.allclose(model(input_ids=rows).logits, alone, atol=1e-5)
    for size in ((3, 0), (0, 3), (2, 1)):
        mask = nn.functional.pad(torch.ones_like(rows), size)
        padded = nn.functional.pad(rows, size, value=7)
        logits = model(input_ids=padded, attention_mask=mask).logits
        assert torch.allclose(logits, alone, atol=1e-5), size


def test_the_last_token_of_gpt2_is_that_of_transformers(tmp_path: Path) -> None:
    model = classifier("gpt2", tmp_path, pooling="last")
    config = model.hf_config.body_config
    config.num_labels, config.pad_token_id = 3, 0
    oracle = GPT2ForSequenceClassification(config).eval()
    oracle.transformer.load_state_dict(model.hf_model.body.state_dict())
    oracle.score.weight = model.hf_model.output.weight
    rows = nn.functional.pad(ids(2, 6), (0, 2))
    mask = (rows != 0).long()
    expected = oracle(input_ids=rows, attention_mask=mask).logits
    found = model(input_ids=rows, attention_mask=mask).logits
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_body_that_counts_positions_from_padding_computes_what_it_does_without_the_head() -> None:
    """RoBERTa numbers tokens from the id of padding plus one."""
    own = {**IDS, "pad_token_id": 1, "bos_token_id": 0}
    config, rows, mask = tiny("roberta", "masked"), ids(2, 6), torch.ones(2, 6, dtype=torch.long)
    mask[1, 4:], rows[1, 4:] = 0, 1
    model = TextClassifier.from_config(config, **own, labels=["no", "yes"]).eval()
    language = HuggingFaceModel.from_config(config, **own).eval()
    model.hf_model.body.load_state_dict(language.hf_model.base_model.state_dict())
    states = model.hf_model._states(rows, mask).last_hidden_state
    expected: Any = language(rows, mask, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[mask.bool()], expected[-1][mask.bool()])
    assert model.num_positions == language.num_positions == config.data.max_sequence_length


def test_the_losses_are_those_of_torch() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, -100, 1])
    expected = nn.functional.cross_entropy(logits, labels)
    assert torch.allclose(label_loss(logits, labels, None), expected)
    assert label_loss(logits, torch.full((4,), -100), None) == 0
    several = torch.tensor([[1.0, 0.0, 1.0]]).expand(4, 3)
    expected = nn.functional.binary_cross_entropy(logits.sigmoid(), several)
    assert torch.allclose(label_loss(logits, several, "multi_label_classification"), expected)


@pytest.mark.parametrize(
    ("head", "auto_class"),
    [
        (TextClassifier, "AutoModelForSequenceClassification"),
        (TokenClassifier, "AutoModelForTokenClassification"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_is_loaded_here_and_by_transformers(
    kind: str, head: Any, auto_class: str, tmp_path: Path
) -> None:
    model = classifier(kind, tmp_path, head, dropout=0.5, multi_label=head is TextClassifier)
    model.save_pretrained(tmp_path / "model")
    rows = ids(2, 6)
    logits = model(input_ids=rows).logits
    ours: BaseModel = load_model(tmp_path / "model")
    assert isinstance(ours, head) and ours.model_type == model.model_type
    assert ours.attention_in_use == model.attention_in_use
    theirs = by_its_own_code(tmp_path / "model", auto_class)
    assert theirs.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    assert torch.equal(ours(input_ids=rows).logits, logits)
    assert torch.equal(theirs(input_ids=rows).logits, logits)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm", *NATIVE])
def test_gradients_are_the_same_with_recomputed_activations(kind: str, tmp_path: Path) -> None:
    model = classifier(kind, tmp_path)
    model.hf_model.body.requires_grad_(True)
    labels = torch.tensor([0, 2])
    gradients = []
    for _ in range(2):
        model.train()
        for module in model.modules():  # the layers recompute only while they are trained
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "dropout", None), float):  # of the attention weights
                module.dropout = 0.0
        model.zero_grad()
        model(input_ids=ids(2, 6), labels=labels).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        model.gradient_checkpointing_enable()
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    assert len(gradients[0]) == len(list(model.parameters()))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_body_has_no_gradients_and_no_dropout(kind: str, tmp_path: Path) -> None:
    model = classifier(kind, tmp_path)
    model.freeze_body()
    model.train()
    once, again = (model(input_ids=ids(2, 6), labels=torch.tensor([0, 2])) for _ in range(2))
    assert torch.equal(once.logits, again.logits)
    once.loss.backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"hf_model.output.weight", "hf_model.output.bias"}
    assert not any(p.requires_grad for p in model.hf_model.body.parameters())


def test_the_attention_of_the_experiment_is_that_of_the_body(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "training.attn_implementation=eager")
    model = TextClassifier.from_config(config, **IDS, labels=["a", "b"])
    assert model.attention_in_use == "eager"
    assert model.hf_model.body.config._attn_implementation == "eager"
    assert model.num_positions == 16


@pytest.mark.parametrize("kind", KINDS)
def test_the_body_is_what_is_compiled(kind: str, tmp_path: Path) -> None:
    model = classifier(kind, tmp_path)
    model.compile_for_training()
    compiled = [module for module in model.modules() if module._compiled_call_impl is not None]
    assert compiled == [model.hf_model.body]


def test_a_recurrent_body_has_no_attention_and_any_length(tmp_path: Path) -> None:
    model = classifier("lstm", tmp_path)
    assert (model.attention_in_use, model.num_positions) == (None, None)


@pytest.mark.parametrize("kind", NATIVE)
@pytest.mark.parametrize(("positions", "limit"), [("learned", 16), ("rotary", None)])
def test_only_learned_positions_limit_a_text(
    kind: str, positions: str, limit: int | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = tiny_experiment(kind, tmp_path, f"model.backbone.positions={positions}")
    model = TokenClassifier.from_config(config, **IDS, labels=["a", "b"]).eval()
    assert model.num_positions == limit
    model.save_pretrained(tmp_path / "model")
    theirs = by_its_own_code(tmp_path / "model", "AutoModelForTokenClassification")
    rows = ids(2, 16 if limit else 30)
    assert torch.equal(theirs(input_ids=rows).logits, model(input_ids=rows).logits)
