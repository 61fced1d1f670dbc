"""The whole story: from a configuration to a directory that plain transformers reads."""

import json
import logging
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from model_foundry import load_config, load_model, train
from model_foundry.cli.summary import print_summary
from model_foundry.config import OBJECTIVES, save_config
from model_foundry.config.yaml_reader import parse_yaml
from model_foundry.errors import ConfigError, DataError
from model_foundry.experiment import check, run_length
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.objectives.preparation import prepare
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import (
    TokenizerFactory,
    train_tokenizer_from_config,
)
from model_foundry.training.metrics_log import read_metrics
from tests.experiments import MASKED, MODELS, snapshot, tiny_experiment
from tests.task_runs import task, tasks_loaded, write_data

LOAD_ELSEWHERE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
found = {}
for kind, directory, masked in json.loads(sys.argv[1]):
    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=True)
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    model = auto.from_pretrained(directory, trust_remote_code=True).eval()
    if masked:
        batch = tokenizer("The dogs " + tokenizer.mask_token + " a cat.", return_tensors="pt")
        where = batch["input_ids"][0] == tokenizer.mask_token_id
        found[kind] = model(**batch).logits[0, where].argmax(-1).tolist()
    else:
        batch = tokenizer("The dogs", return_tensors="pt")
        found[kind] = model.generate(**batch, max_new_tokens=5, do_sample=False)[0].tolist()
assert not any(name.startswith("model_foundry") for name in sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("runs")
    return {
        kind: train(tiny_experiment(kind, directory / kind.replace(" ", "-"))).output_dir
        for kind in MODELS
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_run_directory_holds_what_later_tools_read(kind: str, runs: dict[str, Path]) -> None:
    run = RunDirectory(runs[kind])
    status = run.status()
    assert status is not None
    assert (status.state, status.step, status.exit_code) == ("completed", 6, 0)
    assert status.last_good_step == 6
    assert [line["step"] for line in read_metrics(run.metrics_file)] == [1, 2, 3, 4, 5, 6, 6]
    assert (run.tokenizer / "tokenizer.json").is_file()
    assert (run.evaluation / "loss-step-00000006.json").is_file()


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_saved_configuration_is_resolved_and_loads_back(kind: str, runs: dict[str, Path]) -> None:
    run = RunDirectory(runs[kind])
    config = run.config()
    text = run.config_file.read_text()
    assert parse_yaml(save_config(config), "again") == parse_yaml(text, "saved")
    assert load_config(run.config_file) == config
    if config.model.transformer:
        assert config.training.attn_implementation == "sdpa"
        assert config.model.transformer.max_position_embeddings == 16
        assert "# training.attn_implementation: auto -> sdpa (" in text


@pytest.mark.slow
def test_models_load_in_a_process_without_this_package(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path))
    asked = json.dumps([(kind, str(path / "model"), kind in MASKED) for kind, path in runs.items()])
    # -I: neither the working directory nor PYTHONPATH can bring the package in
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD_ELSEWHERE, asked], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind, path in runs.items():
        model = load_model(path / "model")
        if kind in MASKED:
            tokenizer = load_tokenizer(path / "model")
            ids = tokenizer("The dogs <mask> a cat.", return_tensors="pt")["input_ids"]
            ours = model(ids).logits[ids == tokenizer.mask_token_id].argmax(-1).tolist()
        else:
            prompt = torch.tensor([found[kind][:-5]])
            ours = model.generate(prompt, max_new_tokens=5, do_sample=False)[0].tolist()
        assert ours == found[kind], kind


def test_the_result_holds_the_final_figures(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "data.test={language: {sentences: 40, seed: 9}}")
    result = train(config)
    assert result.step == 6 and result.vocab_size == 300
    assert {"eval/loss", "eval/bits_per_byte", "test/loss", "test/perplexity"} <= set(
        result.metrics
    )
    assert result.lossless and result.generates
    assert (result.loss_unit, result.best_metric) == ("nats per token", "loss")
    assert result.language is not None
    assert result.metrics["eval/bits_per_byte"] > result.language.floor_bits_per_byte
    assert load_model(result.model_dir).get_parameter_count() == result.parameters


@pytest.mark.slow
def test_epochs_show_every_block(tmp_path: Path) -> None:
    config = tiny_experiment("rnn", tmp_path, "training.max_steps=null", "training.epochs=1")
    blocks = len(prepare(config).train)
    result = train(config)
    assert (result.step - 1) * 4 < blocks <= result.step * 4


def test_a_finished_run_answers_with_its_result_and_changes_no_file(tmp_path: Path) -> None:
    config = tiny_experiment("rnn", tmp_path, "data.test={language: {sentences: 40, seed: 9}}")
    result = train(config)
    before = snapshot(result.output_dir)
    assert train(config) == result
    assert snapshot(result.output_dir) == before


@pytest.mark.slow
def test_fresh_moves_a_run_aside_and_begins_another(tmp_path: Path) -> None:
    config = tiny_experiment("rnn", tmp_path)
    first = RunDirectory(train(config).output_dir).status()
    second = RunDirectory(train(config, fresh=True).output_dir).status()
    moved = RunDirectory(tmp_path / "run.old-1")
    assert moved.status() == first
    assert (moved.model / "config.json").is_file()
    assert first is not None and second is not None
    assert first.run_id != second.run_id and second.attempt == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old-1"]


BAD_CORPORA = {
    "missing": (None, "no such file"),
    "empty": (b"", "holds no text"),
    "white": (b" \n\t\n", "holds no text"),
    "binary": (b"text\0text", "zero byte at byte 4"),
    "latin1": (b"caf\xe9 au lait", "not UTF-8 at byte 3"),
    "short": (b"a b\n" * 2, r"data\.train: .* fewer than one block of \d+; use more"),
}


@pytest.mark.parametrize("name", sorted(BAD_CORPORA))
def test_bad_corpus_is_named_and_no_directory_is_left(name: str, tmp_path: Path) -> None:
    content, message = BAD_CORPORA[name]
    corpus = tmp_path / f"{name}.txt"
    if content is not None:
        corpus.write_bytes(content)
    config = tiny_experiment("gpt2", tmp_path, f"data.train={corpus}", "data.document=line")
    with pytest.raises(DataError, match=message) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_single_document_needs_another_split(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("The dogs chase a cat. " * 100)
    corpus = f"data.train={tmp_path / 'one.txt'}"
    with pytest.raises(DataError, match=r"data\.split_by=position"):
        train(tiny_experiment("gpt2", tmp_path, corpus))
    assert train(tiny_experiment("gpt2", tmp_path, corpus, "data.split_by=position")).step == 6


def test_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    tokenizer = TokenizerFactory.train_bpe(documents=["some text"] * 9, vocab_size=270)
    tokenizer.save_pretrained(tmp_path / "mine")
    named = f"tokenizer={{path: {tmp_path / 'mine'}, vocab_size: 50}}"
    with pytest.raises(DataError, match=r"ids up to \d+, but tokenizer.vocab_size \(=50\)"):
        train(tiny_experiment("gpt2", tmp_path, named))
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path / "maskless")
    named = f"tokenizer={{path: {tmp_path / 'maskless'}}}"
    with pytest.raises(DataError, match="no mask token"):
        train(tiny_experiment("bert", tmp_path, named))
    assert not (tmp_path / "run").exists()


def test_given_tokenizer_is_used_and_kept_with_the_run(tmp_path: Path) -> None:
    tokenizer = TokenizerFactory.train_character(documents=["The dogs chase a cat."])
    tokenizer.save_pretrained(tmp_path / "mine")
    config = tiny_experiment("gpt2", tmp_path, f"tokenizer={{path: {tmp_path / 'mine'}}}")
    result = train(config)
    assert result.vocab_size == len(tokenizer)
    kept, given = (
        json.loads((directory / "tokenizer.json").read_text())
        for directory in (result.output_dir / "tokenizer", tmp_path / "mine")
    )
    del kept["post_processor"], given["post_processor"]  # the frame of a text is the objective's
    assert kept == given


def test_a_run_keeps_the_tokenizer_that_frames_a_text_as_its_training_did(tmp_path: Path) -> None:
    options = "tokenizer.tokenizer_type=wordpiece", "training.save_steps=3"
    run = RunDirectory(train(tiny_experiment("gpt2", tmp_path, *options)).output_dir)
    for directory in (run.tokenizer, run.model, run.checkpoint(3)):
        tokenizer = AutoTokenizer.from_pretrained(directory)
        ids = tokenizer("the dogs")["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and ids[-1] != tokenizer.eos_token_id
        assert tokenizer.model_max_length == 16


def test_fp16_without_an_accelerator_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is an accelerator")
    config = tiny_experiment("gpt2", tmp_path, "training.mixed_precision=fp16")
    for command in (train, check):
        with pytest.raises(ConfigError, match="'fp16' needs an accelerator"):
            command(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("asked", "runs"), [("auto", "sdpa"), ("eager", "eager")])
def test_attention_that_was_settled_on_is_logged_and_saved(
    asked: str, runs: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(tiny_experiment("gpt2", tmp_path, f"training.attn_implementation={asked}"))
    assert (f"training.attn_implementation: auto -> {runs} (" in caplog.text) == (asked == "auto")
    saved = load_config(tmp_path / "run" / "config.yaml")
    assert saved.training.attn_implementation == runs
    model = load_model(tmp_path / "run" / "model")
    assert model.hf_model.config._attn_implementation == "sdpa"  # a choice of the run, not saved


def test_setting_without_effect_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        train(tiny_experiment("gpt2", tmp_path, "training.mlm_probability=0.3"))
    assert "training.mlm_probability has no effect" in caplog.text


def test_lossy_tokenizer_is_marked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = train(
        tiny_experiment(
            "gpt2", tmp_path, "tokenizer.tokenizer_type=wordpiece", "tokenizer.lowercase=true"
        )
    )
    assert not result.lossless
    assert set(result.not_comparable) == {"eval"}
    assert "validation: the tokenizer loses characters, so its bits per byte" in caplog.text


def test_check_finds_the_size_without_writing(tmp_path: Path) -> None:
    config = tiny_experiment("bert", tmp_path)
    lines = check(config)
    assert lines[0].startswith("training.mixed_precision: auto -> ")
    assert any(line.startswith("model: bert, ") for line in lines)
    assert not (tmp_path / "run").exists()


def test_check_refuses_an_output_directory_that_training_refuses(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ConfigError, match="is a file; name a directory"):
        check(tiny_experiment("gpt2", tmp_path))


@pytest.mark.slow
def test_tokenizer_larger_than_the_default_vocabulary_needs_no_setting(tmp_path: Path) -> None:
    """And the saved configuration of such a run can be run again."""
    vocabulary = {token: index for index, token in enumerate(["<unk>", "</s>", "The", "."])}
    vocabulary |= {f"word{number}": 4 + number for number in range(8000)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.save_pretrained(tmp_path / "large")
    config = tiny_experiment("rnn", tmp_path, f"tokenizer={{path: {tmp_path / 'large'}}}")
    first = train(config)
    again = load_config(
        first.output_dir / "config.yaml", overrides=[f"output_dir={tmp_path / 'again'}"]
    )
    assert train(again).vocab_size == first.vocab_size == 8004


def test_damaged_cache_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    first = train(tiny_experiment("gpt2", tmp_path, cache))
    for name in ("tokens-00000.npy", "tokenizer.json"):
        for path in (tmp_path / "cache").rglob(name):
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        again = train(tiny_experiment("gpt2", tmp_path, cache), fresh=True)
    assert caplog.text.count("is damaged") == 3  # tokenizer, train and validation stream
    assert again.metrics == first.metrics


def test_directory_with_foreign_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").touch()
    for fresh in (False, True):
        with pytest.raises(ConfigError, match=r"holds other files \(precious\.txt\)"):
            train(tiny_experiment("gpt2", tmp_path), fresh=fresh)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_tokenizer_that_was_trained_before_lies_in_the_way_of_nothing(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    tokenizer = train_tokenizer_from_config(config)
    assert train(config).vocab_size == len(tokenizer)


@pytest.mark.parametrize(
    "setting", ["tokenizer.vocab_size=5", 'tokenizer.special_tokens={pad: "</s>"}']
)
def test_check_refuses_what_no_text_could_meet(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tokenizer"):
        check(tiny_experiment("gpt2", tmp_path, setting))


@pytest.mark.parametrize(("rows", "reported"), [(8, False), (3000, True)])
def test_a_batch_larger_than_the_text_is_reported(
    rows: int, reported: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batch = f"training.per_device_train_batch_size={rows}"
    train(tiny_experiment("rnn", tmp_path, batch, "training.max_steps=2"))
    lines = [line for line in caplog.messages if "each step reads them" in line]
    assert len(lines) == reported
    assert all(
        "(=3,000 examples) is more than there" in line and " times;" in line for line in lines
    )


def test_a_batch_many_times_the_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_length, "MOST_READS", 2)  # of a thousand, the keys would fill memory
    batch = "training.per_device_train_batch_size=3000"
    with pytest.raises(ConfigError, match="more than there are for training"):
        train(tiny_experiment("rnn", tmp_path, batch))
    assert not (tmp_path / "run").exists()


def test_a_classifier_with_a_tokenizer_is_no_language_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = ["a b c"] * 9
    tokenizer = TokenizerFactory.train("character", documents=documents, vocab_size=30)
    with tasks_loaded():
        write_data(tmp_path)
        task_class = OBJECTIVES.load("classify_arrays")
        learn, roles = task_class.learn, {"tokenizer": TextTokenizer}
        monkeypatch.setattr(task_class, "processor_types", task_class.processor_types | roles)
        monkeypatch.setattr(
            task_class,
            "learn",
            lambda *given: learn(*given) | {"tokenizer": TextTokenizer(tokenizer, None)},
        )
        config = task("arrays", tmp_path, "training.max_steps=2")
        results = train(config), train(config)  # trained, and complete already
    for result in results:
        facts = result.vocab_size, result.generates, result.mask_token, result.next_command
        assert facts == (None,) * 4
        print_summary(result)
        shown = capsys.readouterr().out
        assert "validation loss" in shown and "nats" not in shown and "next" not in shown


@pytest.mark.parametrize(("kind", "program"), [("gpt2", "foundry"), ("bert", "python")])
def test_the_next_command_suits_the_model(kind: str, program: str, tmp_path: Path) -> None:
    result = train(tiny_experiment(kind, tmp_path, "training.max_steps=2"))
    words = shlex.split(str(result.next_command))
    assert words[0] == program
    if kind == "gpt2":
        assert words[1:] == ["generate", str(result.output_dir), "--prompt", "The"]
    else:
        assert (
            f"pipeline('fill-mask', {str(result.model_dir)!r}, trust_remote_code=True)" in words[2]
        )
        assert f"'The {result.mask_token} is'" in words[2]
