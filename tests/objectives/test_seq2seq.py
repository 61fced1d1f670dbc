"""Translation of a toy language: pairs, targets, written texts, and refusals."""

from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from model_foundry.config import ExperimentConfig, load_config
from model_foundry.data.batches.loaders import evaluation_batches
from model_foundry.errors import ConfigError
from model_foundry.experiment import train
from model_foundry.model import create_model, load_model
from model_foundry.objectives.preparation import prepare
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.objectives.seq2seq import Seq2SeqLM

WORDS = {
    **{"a": "un", "the": "le", "dog": "chien", "cat": "chat"},
    **{"sees": "voit", "hears": "entend", "me": "moi", "us": "nous"},
}
SLOTS = [("a", "the"), ("dog", "cat"), ("sees", "hears"), ("me", "us")]  # four words, as BLEU needs
EXPERIMENT = """
experiment_name: toy
output_dir: run
data:
  train: {pairs: {source: a.en, target: a.fr}}
  validation: {pairs: {source: b.en, target: b.fr}}
  max_sequence_length: 16
  cache_dir: cache
tokenizer: {tokenizer_type: word, vocab_size: 40}
model: {architecture: t5, transformer: {layers: 1, hidden_size: 32, attention_heads: 2, dropout: 0}}
training:
  objective: seq2seq_lm
  max_steps: 150
  learning_rate: 1e-2
  per_device_train_batch_size: 8
  metrics: [loss, bleu, exact_match]
  eval_steps: 150
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [" ".join(row) for row in product(*SLOTS)]
    for name, sources in (("a", rows), ("b", rows[::3])):
        Path(f"{name}.en").write_text("".join(f"{row}\n" for row in sources))
        targets = (" ".join(WORDS[word] for word in row.split()) for row in sources)
        Path(f"{name}.fr").write_text("".join(f"{row}\n" for row in targets))
    Path("toy.yaml").write_text(EXPERIMENT)
    return tmp_path


def experiment(*overrides: str) -> ExperimentConfig:
    return load_config("toy.yaml", overrides=list(overrides))


def test_pairs_are_batched_with_an_end_and_padding_that_is_no_target(here: Path) -> None:
    prepared = prepare(experiment())
    tokenizer = cast(TextTokenizer, prepared.processors["target_tokenizer"]).tokenizer
    [batch, *_] = evaluation_batches(prepared.validation, prepared.evaluating, batch_size=6)
    labels = batch.inputs["labels"]
    assert batch.inputs["input_ids"].shape == batch.inputs["attention_mask"].shape
    decoded = tokenizer.decode(labels[0])
    assert decoded.split()[:4] == ["un", "chien", "voit", "moi"]
    assert labels[0, -1] == tokenizer.eos_token_id
    assert prepared.objective.count_targets(batch.inputs) == int((labels != -100).sum())


def test_a_toy_language_is_learned_and_written(here: Path) -> None:
    result = train(experiment())
    assert result.metrics["eval/exact_match"] > 0.8
    assert result.metrics["eval/bleu"] > 80
    model = load_model(result.model_dir)
    ids = torch.tensor([[5, 6]])
    assert cast(Any, model).generate(ids, max_new_tokens=3, num_beams=2).shape[0] == 1


TRANSFORMER = (
    "model={architecture: transformer, backbone: {encoder: {layers: 1}, decoder: {layers: 1}, "
    "hidden_size: 32, attention_heads: 2, dropout: 0, attention_dropout: 0, positions: relative}}"
)


@pytest.mark.parametrize(
    "own", [(), ("training.seq2seq_lm.target_tokenizer={tokenizer_type: word, vocab_size: 30}",)]
)
def test_a_transformer_learns_with_one_vocabulary_and_with_two(
    here: Path, own: tuple[str, ...]
) -> None:
    result = train(experiment(TRANSFORMER, "training.learning_rate=3e-3", *own))
    assert result.metrics["eval/exact_match"] > 0.8
    again = load_model(result.model_dir)
    assert again.model_type == "transformer"
    assert cast(Any, again).generate(torch.tensor([[5, 6]]), max_new_tokens=3).shape[0] == 1


def test_several_metrics_let_the_model_write_once(here: Path, monkeypatch: Any) -> None:
    calls = []
    write = Seq2SeqLM._write
    monkeypatch.setattr(Seq2SeqLM, "_write", lambda s, d: calls.append(d) or write(s, d))
    train(experiment("training.max_steps=2", "training.eval_steps=2"))
    assert len(calls) == 1 + 6  # the trial; so few records are evaluated one by one


def test_long_texts_are_cut_with_a_warning(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare(experiment("training.seq2seq_lm.max_target_length=2"))
    assert "22 of 22 texts are cut to data.max_sequence_length (=2) tokens" in caplog.text


def test_a_run_continues_another_with_its_vocabulary_only(here: Path) -> None:
    brief = ("training.max_steps=2", "training.eval_steps=2", "training.warmup_steps=0")
    first = train(experiment(*brief, "training.metrics=[loss]")).model_dir
    begun = (*brief, "training.metrics=[loss]", f"model.init_from={first}", "output_dir=second")
    with pytest.raises(ConfigError, match=r"tokens have other numbers here.*set tokenizer.path="):
        train(experiment(*begun, "tokenizer.vocab_size=12"))
    config = experiment(*begun, f"tokenizer.path={first}", "training.learning_rate=1e-12")
    second = load_model(train(config).model_dir).state_dict()
    for name, tensor in load_model(first).state_dict().items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-9)


def test_a_second_vocabulary_is_refused_by_t5(here: Path) -> None:
    own = "training.seq2seq_lm.target_tokenizer={tokenizer_type: word, vocab_size: 30}"
    prepared = prepare(config := experiment(own))
    arguments = prepared.objective.model_arguments(prepared.processors)
    assert arguments["source_vocab_size"] == arguments["vocab_size"]
    with pytest.raises(ConfigError, match="target_tokenizer: 't5' has one vocabulary for sourc"):
        create_model(config, **arguments)
