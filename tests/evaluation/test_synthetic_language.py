"""The measurements on the built-in language, with its entropy only where it is a bound."""

import logging
from pathlib import Path
from typing import Any

import pytest

from model_foundry.architectures import MODEL_REGISTRY
from model_foundry.cli.summary import print_summary
from model_foundry.errors import ConfigError
from model_foundry.evaluation.minimal_pairs import minimal_pair_accuracy
from model_foundry.evaluation.synthetic_language import PAIRS, LanguageReport, measure_language
from model_foundry.experiment.result import is_bounded
from model_foundry.experiment.train import train
from model_foundry.model import create_model
from model_foundry.objectives.preparation import prepare
from model_foundry.synthetic_language import load_language
from tests.experiments import MASKED, MODELS, tiny_experiment

FLOOR = load_language().entropy.bits_per_byte


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_entropy_is_a_floor_for_models_that_read_from_the_left(
    kind: str, tmp_path: Path
) -> None:
    config = tiny_experiment(kind, tmp_path)
    assert is_bounded(config, prepare(config)) is (kind not in MASKED)


@pytest.mark.parametrize(
    "override",
    [
        "data.validation=held-out.txt",
        "data.interventions=[{step: shuffle_words}]",
        "tokenizer={tokenizer_type: wordpiece, lowercase: true}",
    ],
)
def test_the_entropy_is_no_floor_for_another_text(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("held-out.txt").write_text("the the the the\n" * 20)
    config = tiny_experiment("gpt2", tmp_path, override)
    assert not is_bounded(config, prepare(config))


def test_a_change_of_the_training_text_alone_keeps_the_floor(tmp_path: Path) -> None:
    step = "data.interventions=[{step: shuffle_words, splits: [train]}]"
    config = tiny_experiment("gpt2", tmp_path, step)
    assert is_bounded(config, prepare(config))


def test_the_report_of_a_masked_run_has_no_floor(tmp_path: Path) -> None:
    result = train(tiny_experiment("bert", tmp_path))
    assert result.language == LanguageReport(None, {}, {}, [])
    (written,) = (tmp_path / "run" / "evaluation").glob("language-*.json")
    assert '"floor_bits_per_byte": null' in written.read_text()


@pytest.mark.parametrize(
    ("figure", "interval", "warned"),
    [(0.3, 0.1, True), (FLOOR - 0.05, 0.1, False), (FLOOR + 0.1, 0.01, False), (0.3, None, False)],
)
def test_a_model_below_the_floor_by_more_than_chance_is_reported(
    figure: float,
    interval: float | None,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    figures = {"loss": 1.0, "perplexity": 2.7, "bits_per_byte": figure, "tokens": 9}
    figures |= {} if interval is None else {"bits_per_byte_interval": interval}
    monkeypatch.setattr(
        "model_foundry.experiment.measure_split.measure", lambda *given, **known: figures
    )
    with caplog.at_level(logging.WARNING):
        train(tiny_experiment("gpt2", tmp_path, "training.max_steps=2"))
    assert ("the entropy of the language, which no causal model" in caplog.text) is warned


def test_pairs_that_are_too_long_are_not_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    tokenizer = prepare(config).tokenizer
    report = measure_language(create_model(config, tokenizer=tokenizer), tokenizer, seed=1)
    assert report.minimal_pairs.keys() == report.pairs.keys()
    assert 0 < min(report.pairs.values()) < PAIRS
    left = PAIRS * len(load_language().phenomena) - sum(report.pairs.values())
    assert f"{left} of 1400 minimal pairs are longer than the 16 positions" in caplog.text
    lstm = create_model(tiny_experiment("lstm", tmp_path), tokenizer=tokenizer)
    assert set(measure_language(lstm, tokenizer, seed=1).pairs.values()) == {PAIRS}


@pytest.mark.parametrize("kind", sorted(MASKED))
def test_minimal_pairs_of_a_masked_model_are_refused(kind: str, tmp_path: Path) -> None:
    config = tiny_experiment(kind, tmp_path)
    tokenizer = prepare(config).tokenizer
    model = create_model(config, tokenizer=tokenizer)
    pairs = load_language().minimal_pairs("article_sound", pairs=2, seed=0)
    with pytest.raises(ConfigError, match="reads both ways and gives no sentence a probability"):
        minimal_pair_accuracy(model, tokenizer, pairs)


def test_a_model_that_cannot_generate_does_not_fail_its_finished_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise ValueError("matC_old has wrong shape")

    config = tiny_experiment("gpt2", tmp_path, "training.max_steps=2")
    monkeypatch.setattr(MODEL_REGISTRY["gpt2"], "generate", fail)
    result = train(config)
    assert result.language is not None and result.language.minimal_pairs
    assert result.language.sentences == []
    (line,) = [r.getMessage() for r in caplog.records if "no sentences" in r.getMessage()]
    assert line == "no sentences of the model, which cannot generate: matC_old has wrong shape"
    print_summary(result)
    assert "sentences of the model" not in capsys.readouterr().out
