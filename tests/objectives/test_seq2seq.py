"""Translation of a toy language: pairs, targets, written texts, and refusals."""

import csv
import json
import weakref
from itertools import islice, product
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from model_foundry.config import ExperimentConfig, load_config
from model_foundry.data.batches.loaders import evaluation_batches, training_batches
from model_foundry.data.batches.order import BatchSplit
from model_foundry.errors import ConfigError, DataError
from model_foundry.experiment import train
from model_foundry.model import create_model, load_model
from model_foundry.objectives.preparation import prepare
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.objectives.seq2seq import Seq2SeqLM
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.task_runs import foundry

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


def test_references_are_the_texts_of_the_data_and_not_what_the_tokenizer_keeps(here: Path) -> None:
    rare = "le Chien  d\u00e9\u00e7oit un ours"  # a word in another case, unknown ones, two spaces
    targets = [rare, *Path("b.fr").read_text().splitlines()[1:]]
    Path("b.fr").write_text("".join(f"{target}\n" for target in targets))
    config = experiment("training.seq2seq_lm.max_target_length=3", *BACKBONE)
    prepared = prepare(config)
    objective = cast(Seq2SeqLM, prepared.objective)
    model = create_model(config, **objective.model_arguments(prepared.processors)).eval()
    [batch, *_] = evaluation_batches(prepared.validation, prepared.evaluating, batch_size=6)
    done = objective.run(model, batch.inputs, objective.targets(batch.inputs))
    texts, references = objective.written(done)
    assert references == targets
    assert all(len(text.split()) <= 3 for text in texts)
    assert objective.written(done)[0] is texts
    alive = weakref.ref(done)
    del done
    assert alive() is None  # with its logits


def test_long_texts_are_cut_with_a_warning(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare(experiment("training.seq2seq_lm.max_target_length=2"))
    cut = "22 of 22 targets are cut to "
    assert f"{cut}training.seq2seq_lm.max_target_length (=2) tokens; raise it" in caplog.text
    assert caplog.text.count("are cut to") == 1
    caplog.clear()
    prepare(experiment("data.max_sequence_length=4"))
    for noun in ("sources", "targets"):
        cut = f"22 of 22 {noun} are cut to data.max_sequence_length (=4) tokens; raise it"
        assert caplog.text.count(cut) == 1


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


def test_a_tokenizer_is_told_by_its_own_settings(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = "training.seq2seq_lm.target_tokenizer"
    prepare(experiment("tokenizer={tokenizer_type: word}", f"{own}={{tokenizer_type: word}}"))
    assert "requested" not in caplog.text  # a default requests no size
    prepare(experiment(f"{own}={{tokenizer_type: word, vocab_size: 30}}"))
    few = [each.message for each in caplog.records if "requested" in each.message]
    assert [each.partition(" requested")[0] for each in few] == [
        "tokenizer.vocab_size: 40",
        f"{own}.vocab_size: 30",
    ]
    with pytest.raises(ConfigError, match=rf"^{own}\.vocab_size: 2 is too small"):
        prepare(experiment(f"{own}={{tokenizer_type: word, vocab_size: 2}}"))


def test_a_second_vocabulary_is_refused_by_t5(here: Path) -> None:
    own = "training.seq2seq_lm.target_tokenizer={tokenizer_type: word, vocab_size: 30}"
    prepared = prepare(config := experiment(own))
    arguments = prepared.objective.model_arguments(prepared.processors)
    assert arguments["source_vocab_size"] == arguments["vocab_size"]
    with pytest.raises(ConfigError, match="target_tokenizer: 't5' has one vocabulary for sourc"):
        create_model(config, **arguments)


BACKBONE = (
    "model.architecture=transformer",
    "model.transformer=null",
    "model.backbone={layers: 1, hidden_size: 32, attention_heads: 2, dropout: 0}",
)


def test_pairs_stand_in_columns_too(here: Path) -> None:
    table = [(" ".join(row), " ".join(WORDS[word] for word in row)) for row in product(*SLOTS)]
    names = ("english", "french")
    rows = [dict(zip(names, row, strict=True)) for row in table]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Path("t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *table])
    pq.write_table(pa.Table.from_pylist(rows), "t.parquet")
    columns = "training.seq2seq_lm={source: english, target: french}"
    found = [
        prepare(experiment(f"data.train=t.{kind}", f"data.validation=t.{kind}", columns))
        for kind in ("jsonl", "csv", "parquet")
    ]
    of_files = prepare(experiment()).train.content_sha256
    assert [prepared.train.content_sha256 for prepared in found] == [of_files] * 3


def test_the_pairs_of_a_step_are_of_similar_lengths(here: Path) -> None:
    lengths = {"a.en": [n % 9 for n in range(90)], "a.fr": [n % 7 for n in range(90)]}
    for name, numbers in lengths.items():
        rows = [" ".join(["dog", *["a"] * number]) for number in numbers]
        Path(name).write_text("".join(f"{row}\n" for row in rows))

    def padded(*overrides: str) -> int:
        prepared = prepare(experiment(*overrides))
        share = BatchSplit(micro_batch=9, rows_per_step=9)
        batches = training_batches(prepared.train, prepared.collate, share, seed=0)
        inputs = [batch.inputs for batch in islice(batches, 10)]
        return sum(int((each["labels"] == -100).sum()) for each in inputs)

    assert padded() < 60
    assert padded("training.seq2seq_lm.bucket_by_length=false") > 200


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_smoothed_cross_entropy(smoothing: float, here: Path) -> None:
    config = experiment(f"training.seq2seq_lm.label_smoothing={smoothing}", *BACKBONE)
    prepared = prepare(config)
    objective = prepared.objective
    model = create_model(config, **objective.model_arguments(prepared.processors))
    [batch, *_] = evaluation_batches(prepared.validation, prepared.evaluating, batch_size=6)
    done = objective.run(model, batch.inputs, objective.targets(batch.inputs))
    logits = cast(torch.Tensor, done.output.logits)
    expected = F.cross_entropy(
        logits.flatten(0, 1), batch.inputs["labels"].flatten(), label_smoothing=smoothing
    )
    torch.testing.assert_close(done.losses["label_loss"], expected)


@pytest.mark.slow
def test_a_trained_model_translates_with_transformers_alone(here: Path) -> None:
    result = train(experiment(*BACKBONE, "training.learning_rate=3e-3"))
    assert result.metrics["eval/exact_match"] > 0.8
    tokenizer = AutoTokenizer.from_pretrained(result.model_dir)
    model = AutoModelForSeq2SeqLM.from_pretrained(result.model_dir, trust_remote_code=True).eval()
    inputs = tokenizer(["a dog sees me", "the cat hears us"], return_tensors="pt", padding=True)
    ours: Any = load_model(result.model_dir)
    for beams in (1, 3):
        found = model.generate(**inputs, max_new_tokens=8, num_beams=beams)
        texts = tokenizer.batch_decode(found, skip_special_tokens=True)
        assert texts == ["un chien voit moi", "le chat entend nous"]
        own = ours.generate(**inputs, max_new_tokens=8, num_beams=beams)
        assert tokenizer.batch_decode(own, skip_special_tokens=True) == texts
    asked = ("generate", result.output_dir, "--prompt", "a dog sees me", "--max-new-tokens", "8")
    assert foundry(*asked) == (0, "un chien voit moi\n", "")


def test_a_blank_line_is_refused_with_its_number(here: Path) -> None:
    Path("b.fr").write_text("un chien\n \n" + "le chat\n" * 4)
    with pytest.raises(DataError, match=r"b\.en and b\.fr: line 2: 'target' is blank; write a tex"):
        prepare(experiment())


def test_targets_longer_than_the_positions_are_refused(here: Path) -> None:
    few = ("model.backbone.max_position_embeddings=16", "training.seq2seq_lm.max_target_length=17")
    with pytest.raises(ConfigError, match=r"max_target_length: \(=17\) gives targets of up to 17"):
        experiment(*BACKBONE, *few)
    model: Any = create_model(experiment(*BACKBONE, few[0]), vocab_size=40, eos_token_id=3)
    with pytest.raises(ValueError, match=r"max_new_tokens \(=17 tokens\) exceeds the 16 positions"):
        model.generate(torch.tensor([[5, 6]]), max_new_tokens=17)
    with pytest.raises(ValueError, match=r"source \(=17 tokens\) exceeds the 16 positions"):
        model.generate(torch.full((1, 17), 5))


def test_a_tokenizer_without_an_end_is_refused(here: Path) -> None:
    tokenizer = TokenizerFactory.train_word(documents=["a dog"], vocab_size=20)
    tokenizer.eos_token = None
    tokenizer.save_pretrained("endless")
    with pytest.raises(DataError, match=r"no cls and sep \(or bos and eos\) tokens, which .* tran"):
        prepare(experiment("tokenizer={path: endless}"))
