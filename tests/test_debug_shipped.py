"""`debug=fdr` runs every shipped experiment, and `debug=overfit` every kind of task, offline.

The largest ones have a single layer here, since the size of a model is not what is tried.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from model_foundry import load_config, train
from model_foundry.config.shipped import shipped_configs
from model_foundry.experiment.run_directory import RunDirectory
from tests.test_digits import write_dots
from tests.test_shipped_configs import write_sentences, write_treebank

pytestmark = pytest.mark.slow

Write = Callable[[Path], list[str]]
CONFIGS = sorted(path.stem for path in shipped_configs().glob("*.yaml"))
ONE_LAYER = {
    "bert_base": "model.transformer.layers=1",
    "gpt2_small": "model.transformer.layers=1",
    "gru": "model.rnn.num_layers=1",
    "lstm": "model.rnn.num_layers=1",
    "rnn": "model.rnn.num_layers=1",
}
WORDS = ("dog", "cat", "owl", "fox", "hen")


def sentence(draw: random.Random) -> str:
    return f"the {draw.choice(WORDS)} and the {draw.choice(WORDS)} saw a {draw.choice(WORDS)}"


def write_text(here: Path) -> list[str]:
    """Write paragraphs; return the setting that names them."""
    draw = random.Random(1)
    text = "\n\n".join(". ".join(sentence(draw) for _ in range(40)) for _ in range(120))
    (here / "text.txt").write_text(text)
    return [f"data.train={here / 'text.txt'}"]


def write_pairs(here: Path) -> list[str]:
    """Write sentences beside their words in reverse; return the settings that name them."""
    draw = random.Random(2)
    lines = [sentence(draw) for _ in range(90)]
    reversed_ones = [" ".join(line.split()[::-1]) for line in lines]
    (here / "a.txt").write_text("\n".join(lines))
    (here / "b.txt").write_text("\n".join(reversed_ones))
    ends = {"source": "a", "target": "b"}
    return [
        f"data.{split}.pairs.{end}={here / name}.txt"
        for split in ("train", "validation")
        for end, name in ends.items()
    ]


def write_images(here: Path) -> list[str]:
    write_dots(here / "dots")
    ends = {"train": "train", "validation": "test"}
    return [f"data.{split}={here / 'dots' / name}.npz" for split, name in ends.items()]


def use_the_language(here: Path) -> list[str]:
    return ["data.train.language.sentences=2000"]


WRITERS: dict[str, Write] = {
    **dict.fromkeys(("bert_base", "gpt2_small", "gru", "lstm", "rnn"), write_text),
    **dict.fromkeys(("pos_tagging", "pos_tagging_transformer"), write_treebank),
    **dict.fromkeys(("dense_digits", "vit_digits"), write_images),
    "shakespeare_char": write_text,
    "acceptability": write_sentences,
    "translation_en_fr": write_pairs,
}


def settings_of(name: str, here: Path) -> list[str]:
    """Return the settings by which a shipped experiment runs here, on data that are written."""
    settings = WRITERS.get(name, use_the_language)(here)
    if "tokenizer" in (text := (shipped_configs() / f"{name}.yaml").read_text()):
        settings += ["tokenizer.vocab_size=300"] if "vocab_size" in text else []
    return [*settings, *([ONE_LAYER[name]] if name in ONE_LAYER else [])]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a directory for data."""
    (tmp_path / "given").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CONFIGS)
def test_it_runs_at_all(name: str, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load_config(
        shipped_configs() / f"{name}.yaml",
        overrides=["debug=fdr", *settings_of(name, here / "given")],
    )
    result = train(config)
    assert result.step == 1
    assert result.limited["train"].startswith("2 of ")
    assert [path.name for path in (here / "debug").iterdir()] == [config.experiment_name]
    assert sorted(path.name for path in here.iterdir()) == ["debug", "given"]
    assert not RunDirectory(config.output_dir).checkpoints.exists()
    assert "has no effect" not in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        *("tiny_gpt2", "tiny_bert", "tiny_encoder", "tiny_lstm", "tiny_gru", "tiny_min_gru"),
        *("tiny_rnn", "t5_denoising", "shakespeare_char", "acceptability", "pos_tagging"),
        *("pos_tagging_transformer", "translation_en_fr", "vit_digits", "dense_digits"),
    ],
)
def test_a_sound_one_overfits(name: str, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "model_foundry")
    config = load_config(
        shipped_configs() / f"{name}.yaml",
        overrides=["debug=overfit", *settings_of(name, here / "given")],
    )
    assert train(config).step == 60
    assert "overfit: training loss" in caplog.text
    assert "has no effect" not in caplog.text
