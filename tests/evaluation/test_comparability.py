"""Texts without a target, and texts with unknown tokens."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from model_foundry.cli.data_report import print_report
from model_foundry.cli.summary import print_summary
from model_foundry.config import ExperimentConfig
from model_foundry.corpus_report import build_report
from model_foundry.errors import DataError
from model_foundry.evaluation.comparability import not_comparable
from model_foundry.experiment.train import train
from model_foundry.objectives.preparation import prepare
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from model_foundry.training.metrics_log import read_metrics
from tests.experiments import tiny_experiment

UNKNOWN = "the text is unknown to the tokenizer"


def with_texts(kind: str, directory: Path, *overrides: str, **texts: str) -> ExperimentConfig:
    """Return an experiment with these texts by split."""
    words = ["the", "cat", "sees", "a", "dog", "that", "runs", "away"]
    draw = random.Random(0)
    plain = "\n".join(" ".join(draw.choices(words, k=8)) for _ in range(80))
    for name, text in ({"train": plain, "validation": plain} | texts).items():
        (directory / f"{name}.txt").write_text(text, encoding="utf-8")
        overrides = (*overrides, f"data.{name}={directory / name}.txt")
    return tiny_experiment(kind, directory, "data.document=line", *overrides)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_text_without_a_target_is_refused_before_anything_is_trained(
    name: str, tmp_path: Path
) -> None:
    config = with_texts("bert", tmp_path, **{name: "a"})
    with pytest.raises(DataError, match=rf"data\.{name}: none of the \d tokens .* MaskedLM"):
        train(config)
    assert not config.output_dir.exists() or not any(config.output_dir.glob("metrics*"))


def test_a_training_text_of_unknown_words_is_refused(tmp_path: Path) -> None:
    TokenizerFactory.train_wordpiece(
        documents=["the cat sees a dog"], output_dir=tmp_path / "tokenizer", vocab_size=60
    )
    lines = "\n".join("ก" * 200 for _ in range(400))
    config = with_texts("bert", tmp_path, train=lines, validation="the cat sees a dog")
    config.tokenizer.path = str(tmp_path / "tokenizer")
    with pytest.raises(DataError, match=r"data\.train: none of the 1,600 tokens .*\(800 of them"):
        prepare(config)


def mixed(share: float) -> str:
    """Return a text with about this share of bytes unknown to WordPiece."""
    known = "the cat sees a dog " * 100
    return known + "ก" * max(101, round(share * len(known) / (1 - share) / 3))


@pytest.mark.parametrize(("share", "reported"), [(0.0, False), (0.3, True)])
def test_the_share_of_unknown_text_is_reported_with_each_loss(
    share: float,
    reported: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    held_out = mixed(share) if share else "the cat sees a dog"
    config = with_texts(
        "gpt2", tmp_path, "tokenizer.tokenizer_type=wordpiece", validation=held_out, test=held_out
    )
    result = train(config)
    assert (UNKNOWN in caplog.text) is reported
    assert set(result.not_comparable) == ({"eval", "test"} if reported else set())
    shares = [result.metrics[f"{split}/unknown_share"] for split in ("eval", "test")]
    assert shares == pytest.approx([share, share], abs=0.02)
    lines = read_metrics(config.output_dir / "metrics.jsonl")
    assert lines[-2]["eval/unknown_share"] == shares[0]
    assert lines[-1]["test/unknown_share"] == shares[1]
    (measured,) = (config.output_dir / "evaluation").glob("loss-step-*.json")
    marks = [json.loads(measured.read_text()).get(f"{s}/not_comparable") for s in ("eval", "test")]
    assert marks == ([result.not_comparable["eval"]] * 2 if reported else [None] * 2)
    shown = capsys.readouterr().err
    assert ("of the text unknown)" in shown) is reported
    print_summary(result)
    assert (
        capsys.readouterr().out.count(f"not comparable: {shares[0]:.1%} of {UNKNOWN}")
        == 2 * reported
    )
    assert train(config).not_comparable == result.not_comparable  # completed


def test_the_corpus_report_has_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = with_texts(
        "gpt2", tmp_path, "tokenizer.tokenizer_type=wordpiece", validation=mixed(0.3)
    )
    data = prepare(config)
    report = build_report(config, data)
    split: dict[str, Any] = report.as_json()["splits"][1]
    assert split["unknown_share_of_bytes"] == data.validation.figures()["unknown_share"] > 0.25
    assert split["not_comparable"] == not_comparable(data.validation)
    print_report(report)
    text = " ".join(capsys.readouterr().out.split())
    assert f"validation: bits per byte not comparable: {split['not_comparable']}" in text
    assert "train: bits per byte" not in text
