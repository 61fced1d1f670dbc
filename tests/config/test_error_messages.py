"""What is said of each kind of fault that a schema finds."""

from typing import Any

import pytest

from model_foundry.config.error_messages import dotted
from model_foundry.config.files import apply_override, validate
from model_foundry.errors import ConfigError

QUOTES = "; put it in quotes: '{0}' (on the command line: \"'{0}'\")"


def line_of(*overrides: str) -> str:
    """Return what is said of a good experiment after these changes, without the file name."""
    raw: dict[str, Any] = {
        "experiment_name": "one",
        "data": {"train": "a.txt"},
        "model": {
            "architecture": "gpt2",
            "transformer": {"layers": 2, "hidden_size": 32, "attention_heads": 2},
        },
        "training": {"max_steps": 5},
    }
    for override in overrides:
        apply_override(raw, override)
    with pytest.raises(ConfigError) as caught:
        validate(raw, "file")
    return str(caught.value).replace("file: ", "")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.learning_rate=-1", "training.learning_rate: must be > 0, got -1"),
        ("training.learning_rate=0", "training.learning_rate: must be > 0, got 0"),
        ("training.learning_rate=.nan", "training.learning_rate: must be finite, got nan"),
        ("training.learning_rate=1e400", "training.learning_rate: must be finite, got inf"),
        ("model.transformer.dropout=1.5", "model.transformer.dropout: must be < 1, got 1.5"),
        ("model.transformer.dropout=-0.5", "model.transformer.dropout: must be >= 0, got -0.5"),
        ("seed=true", "seed: must be an integer, got true"),
        ("seed=1.5", "seed: must be an integer, got 1.5"),
        ("seed=3:20", "seed: must be an integer, got '3:20'"),
        ("seed='8'", "seed: must be an integer, got '8' (text); write it without quotes"),
        ("seed=-1", "seed: must be >= 0, got -1"),
        (f"seed={2**64}", f"seed: must be < {2**63}, got {2**64}"),
        ("seed={init: x}", "seed.init: must be an integer, got 'x'"),
        (
            f"training.per_device_train_batch_size={10**30}",
            f"training.per_device_train_batch_size: must be < {2**31}, got {10**30}",
        ),
        ("training.compile=on", "training.compile: must be true, false or 'auto', got 'on'"),
        ("training=5", "training: must be a mapping, got 5"),
        ("model=gpt2", "model: must be a mapping, got 'gpt2'"),
        (
            "data.train=null",
            "data.train: must be text, got null; a ~ alone is null, the home directory is ~/",
        ),
        ("data.train=[]", "data.train: must not be empty, got []"),
        ("data.train=''", "data.train: must not be empty, got ''"),
        ("data.train=[a, 1]", f"data.train.1: must be text, got 1{QUOTES.format(1)}"),
        ("data.validation={hub: 5}", f"data.validation.hub: must be text, got 5{QUOTES.format(5)}"),
        (
            "data.test={language: {sentences: 0}}",
            "data.test.language.sentences: must be > 0, got 0",
        ),
        (
            "data.train=[rows.csv, {disk: saved}]",
            "data.train.1: must be text, got {'disk': 'saved'}; a list holds paths, other sources "
            "stand in {mixture: [{source: ...}, ...]}",
        ),
        (
            "data.train={mixture: [{source: {mixture: [{source: a}]}}]}",
            "data.train.mixture.0.source: a mixture cannot stand in a mixture, got {'mixture': "
            "[{'source': 'a'}]}; write its sources beside the others",
        ),
        (
            "data.interventions=[{step: delete_words, words: No.txt}]",
            "data.interventions.0.words: there is no file 'No.txt'; name one, or write the words "
            "here",
        ),
        (
            "data.interventions=[{step: delete_words, words: 5}]",
            "data.interventions.0.words: must be a list of words or a file, got 5",
        ),
        (
            "data.interventions=[{step: drop_sentences, pattern: '('}]",
            "data.interventions.0.pattern: must be a regular expression (missing ), unterminated "
            "subpattern at position 0), got '('",
        ),
        ("output_dir=5", "output_dir: must be a path, got 5"),
        (
            "tokenizer.tokenizer_type=bpee",
            "tokenizer.tokenizer_type: must be one of 'sentencepiece', 'wordpiece', 'bpe', "
            "'character', 'word', got 'bpee'; did you mean 'bpe'?",
        ),
        ("model.architecture=5", f"model.architecture: must be text, got 5{QUOTES.format(5)}"),
        (
            "model.architecture=gtp2",
            "model.architecture: Unknown architecture: 'gtp2'; did you mean 'gpt2'? Architecture "
            "'gtp2' not registered. Available: bert, gpt2, gru, lstm, rnn; others come with "
            "--plugin FILE.py.",
        ),
        (
            "model.transformer.attention_heads=3",
            "model.transformer.hidden_size: must be a multiple of attention_heads (=3), got 32",
        ),
        (
            "experiment_name=a/b",
            "experiment_name: must match ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$, got 'a/b'",
        ),
    ],
)
def test_a_fault_is_one_line_with_field_law_and_value(override: str, line: str) -> None:
    assert line_of(override) == line


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "training.learning_rat=1",
            "training.learning_rat: unknown key; did you mean 'learning_rate'?",
        ),
        ("seed={init: 1, dat: 2}", "seed.dat: unknown key; did you mean 'data'?"),
        ("vocab_size=9", "vocab_size: unknown key; did you mean 'tokenizer.vocab_size'?"),
        ("training.patience=9", "training.patience: unknown key; valid keys here: adam_beta1, "),
        ("data.train={hub: a, x: 1}", "data.train.x: unknown key; valid keys here: disk, "),
        (
            "data.train={mixture: [{source: a}, {source: b, wieght: 1}]}",
            "data.train.mixture.1.wieght: unknown key; did you mean 'weight'?",
        ),
        (
            "data.train={mixture: [{source: a, path: b}]}",  # of which there is one elsewhere
            "data.train.mixture.0.path: unknown key; valid keys here: document, documents, "
            "repeats, source, text_column, tokens, weight, words",
        ),
        (
            "data.train={mixture: [{source: {hub: a, x: 1}}]}",
            "data.train.mixture.0.source.x: unknown key; valid keys here: disk, hub, language, ",
        ),
        (
            "model.wings=2",
            "model.wings: unknown key; valid keys here: architecture, bert, rnn, tra",
        ),
        ("model.transformer.hidden_sise=3", "model.transformer.hidden_sise: unknown key; did you"),
        ("trust_remote_code=true", "trust_remote_code: unknown key; valid keys here: data, "),
    ],
)
def test_an_unknown_key_is_told_the_nearest_one_or_where_it_belongs(
    override: str, line: str
) -> None:
    assert line_of(override).startswith(line)


def test_a_flat_model_section_is_told_how_to_move() -> None:
    line = line_of("model={architecture: gpt2, layers: 2}").splitlines()[0]
    assert line.startswith(
        "model.layers: unknown key; a flat model section is no longer read: move"
    )
    assert "'model.transformer'" in line


def test_what_is_required_is_said_so() -> None:
    assert line_of("model={}") == "model.architecture: is required"
    assert line_of("model={architecture: gpt2}") == (
        "model: Architecture 'gpt2' requires 'transformer' configuration"
    )
    assert line_of("model.transformer={layers: 1, hidden_size: 4}") == (
        "model.transformer.attention_heads: is required"
    )


def test_a_long_value_is_shortened() -> None:
    line = line_of(f"seed={'x' * 5000}")
    assert line.startswith("seed: must be an integer, got 'xxx")
    assert len(line) < 200


def test_a_key_cannot_break_out_of_its_line() -> None:
    raw = {"a\nb\x1b[31m": 1, "k" * 100_000: 1}
    with pytest.raises(ConfigError) as caught:
        validate(raw, "file")
    lines = str(caught.value).splitlines()
    assert len(lines) == 6  # these two keys and the four that are missing
    assert any(line.startswith(r"file: a\nb\x1b[31m: unknown key") for line in lines)
    assert all(line.isprintable() and len(line) <= 1000 for line in lines)


@pytest.mark.parametrize(
    ("location", "field"),
    [
        (("data", "train", "paths", 1), "data.train.1"),
        (("train", "hub", "hub"), "train.hub"),
        (("data", "train", "language", "language", "seed"), "data.train.language.seed"),
        (
            ("data", "train", "mixture", "mixture", 0, "source", "language", "language", "seed"),
            "data.train.mixture.0.source.language.seed",
        ),
        (("train", "mixture", "mixture", 0, "source", "paths", 1), "train.mixture.0.source.1"),
        (("seed", "each", "init"), "seed.init"),
        (("training", "max_steps"), "training.max_steps"),
        ((), ""),
    ],
)
def test_a_location_is_written_as_on_the_command_line(
    location: tuple[int | str, ...], field: str
) -> None:
    assert dotted(location) == field
