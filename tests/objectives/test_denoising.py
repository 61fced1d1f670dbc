"""Span denoising as an objective: its tokenizer, its batches, a model that learns, and refusals."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoTokenizer

from model_foundry.config import ExperimentConfig, validate
from model_foundry.data.batches.loaders import evaluation_batches
from model_foundry.errors import ConfigError
from model_foundry.experiment.preflight import check
from model_foundry.experiment.train import train
from model_foundry.model import load_model
from model_foundry.objectives.preparation import inspect, prepare
from tests.experiments import apply_override

SMALL = {"layers": 1, "hidden_size": 32, "attention_heads": 2, "dropout": 0.0}
PAIR = {
    **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2},
}
MODELS: dict[str, dict[str, Any]] = {
    "t5": {"architecture": "t5", "transformer": SMALL},
    "transformer": {"architecture": "transformer", "backbone": SMALL},
    "bart": {"architecture": "huggingface", "huggingface": {"model_type": "bart", **PAIR}},
}


def experiment(kind: str, here: Path, *overrides: str) -> ExperimentConfig:
    raw: dict[str, Any] = {
        "experiment_name": "denoising",
        "output_dir": str(here / "run"),
        "data": {
            **{"train": {"language": {"sentences": 200}}, "max_sequence_length": 34},
            "cache_dir": str(here / "cache"),
        },
        "tokenizer": {"tokenizer_type": "bpe", "vocab_size": 300},
        "model": MODELS[kind],
        "training": {
            **{"objective": "span_denoising", "max_steps": 60, "learning_rate": 5e-3},
            **{"per_device_train_batch_size": 16, "eval_steps": 30},
        },
    }
    for override in overrides:
        apply_override(raw, override)
    return validate(raw, "denoising")


@pytest.mark.parametrize("kind", MODELS)
def test_a_small_model_learns_and_is_loaded_with_its_sentinels(kind: str, tmp_path: Path) -> None:
    result = train(experiment(kind, tmp_path))
    assert result.vocab_size == 305  # 15% of 32 tokens are five in two spans
    assert result.metrics["eval/loss"] < 3.9  # 5.7 when it guesses
    assert result.generates is None and result.next_command is None
    tokenizer = AutoTokenizer.from_pretrained(result.model_dir)
    assert tokenizer.convert_ids_to_tokens(range(300, 305)) == [
        f"<extra_id_{number}>" for number in range(5)
    ]
    model: Any = load_model(result.model_dir)
    read = tokenizer("The big<extra_id_0> sleep.", return_tensors="pt")["input_ids"]
    assert 300 in read
    assert model.generate(read, max_new_tokens=4).shape[1] <= 4


def test_a_longer_text_adds_sentinels_to_those_of_the_first_weights(tmp_path: Path) -> None:
    first = train(experiment("t5", tmp_path / "first", "training.max_steps=1")).model_dir.parent
    given = (f"model.init_from={first}", f"tokenizer={{path: {first / 'tokenizer'}}}")
    longer = ("data.max_sequence_length=66", "training.max_steps=1")
    config = experiment("t5", tmp_path / "next", *given, *longer)
    check(config)
    assert train(config).vocab_size == 307
    report = json.loads((config.output_dir / "evaluation" / "initial_weights.json").read_text())
    assert report["new"] == ["shared.weight[305:]"]


def test_a_target_that_is_longer_than_a_block_has_its_positions(tmp_path: Path) -> None:
    given = ("training.span_denoising.hidden_share=0.99", "training.max_steps=1")
    result = train(experiment("transformer", tmp_path, *given, "training.save_steps=1"))
    assert cast(Any, load_model(result.model_dir)).num_positions == 35


def test_what_is_measured_is_the_same_for_each_order_of_the_data(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        prepared = prepare(
            experiment("t5", tmp_path, f"seed={{split: 0, init: 0, data: {seed}, dropout: 0}}")
        )
        batches = evaluation_batches(prepared.validation, prepared.evaluating, batch_size=4)
        trained = prepared.collate(prepared.train.read([(0, 0), (0, 1)]))
        found.append((next(iter(batches)).inputs, trained))
    (measured, trained), (again, other) = found
    assert all(torch.equal(tensor, again[name]) for name, tensor in measured.items())
    assert trained["labels"].tolist() != other["labels"].tolist()
    assert "scored_bytes" in measured and measured["scored_bytes"].sum() > 0


def test_bits_per_byte_are_those_of_the_hidden_text(tmp_path: Path) -> None:
    prepared = prepare(experiment("t5", tmp_path))
    [batch, *_] = evaluation_batches(prepared.validation, prepared.evaluating, batch_size=4)
    tokenizer = prepared.tokenizer
    for labels, sizes in zip(batch.inputs["labels"], batch.inputs["scored_bytes"], strict=True):
        text = tokenizer.decode(labels[labels != -100], skip_special_tokens=True)
        assert len(text.encode()) == sizes.sum()


def test_the_report_counts_sentinels(tmp_path: Path) -> None:
    found = inspect(experiment("t5", tmp_path))
    assert found.model_arguments["vocab_size"] == 305
    assert "305 entries" in found.sizes


@pytest.mark.parametrize(
    ("override", "law"),
    [
        (
            "model={architecture: rnn, rnn: {embedding_size: 8, hidden_size: 8, num_layers: 1}}",
            "of kind 'encoder_decoder'",
        ),
        ("data.packing=documents", "'documents' needs a model that sees no other document"),
        ("training.span_denoising.mean_span_length=0.5", "mean_span_length"),
        ("training.span_denoising.hidden_share=1.0", "hidden_share"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(override: str, law: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=law):
        experiment("t5", tmp_path, override)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    "override",
    [
        "training.metrics=[loss,bits_per_byte]",
        "training.transforms=[{token_dropout: {share: 0.1}}]",
    ],
)
def test_other_metrics_and_transforms_are_tried_before_there_is_a_tokenizer(
    kind: str, override: str, tmp_path: Path
) -> None:
    check(experiment(kind, tmp_path, override))


def test_the_rule_is_told_in_words(tmp_path: Path) -> None:
    objective = cast(Any, prepare(experiment("t5", tmp_path)).objective)
    assert objective.prediction_rule.startswith("15% of the tokens that are not special, in spans")
