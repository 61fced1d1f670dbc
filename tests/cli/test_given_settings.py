"""`foundry validate --settings`: what was given, by line and override, whole at 80 columns."""

from pathlib import Path

from model_foundry.cli.given_settings import given_settings
from model_foundry.config import load_config
from model_foundry.config.yaml_reader import dump_line
from tests.cli.conftest import Cli
from tests.config.conftest import CORPUS, GOOD


def test_each_setting_that_is_given_stands_with_its_place(cli: Cli, here: Path) -> None:
    (here / "good.yaml").write_text(GOOD)
    (here / "corpus.txt").write_text(CORPUS)
    code, out, _ = cli("validate", "good.yaml", "training.max_steps=3", "seed=1", "--settings")
    lines = out.splitlines()
    assert code == 0 and lines[-1] == "good.yaml: no faults found"
    assert lines[0] == "settings by line of good.yaml; all others have their defaults"
    assert lines[1:12] == [
        "       2  experiment_name: one",
        "       3  data.train: corpus.txt",
        "       3  data.document: line",
        "       3  data.max_sequence_length: 8",
        "       4  tokenizer.tokenizer_type: character",
        "       5  model.architecture: gpt2",
        "       5  model.transformer.layers: 1",
        "       5  model.transformer.hidden_size: 8",
        "       5  model.transformer.attention_heads: 2",
        "       6  training.per_device_train_batch_size: 2",
        "override  seed: 1",
    ]
    assert lines[12] == "override  training.max_steps: 3"
    assert not lines[13].startswith((" ", "override"))
    assert "override" not in cli("validate", "good.yaml", "training.max_steps=3")[1]


def test_a_long_value_is_cut(here: Path) -> None:
    (here / "good.yaml").write_text(GOOD)
    files = [f"{number}.txt" for number in range(99)]
    lines = list(given_settings(load_config("good.yaml", overrides=[f"data.train={files}"])))
    (line,) = [line for line in lines if "data.train" in line]
    assert line.startswith("override  data.train: [0.txt, 1.txt, ") and line.endswith("...")
    assert max(map(len, lines)) == 80


def test_a_value_is_written_as_in_yaml_on_one_line() -> None:
    assert dump_line("a.b", None) == "a.b: null"
    assert dump_line("a", "1e3") == "a: '1e3'"
    assert dump_line("a", "x\ny") == 'a: "x\\ny"'
    assert dump_line("a", [{"z": 1, "b": [True]}]) == "a: [{z: 1, b: [true]}]"
    assert dump_line("a", "word " * 99) == f"a: '{'word ' * 99}'"
