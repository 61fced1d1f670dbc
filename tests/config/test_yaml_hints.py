"""What is wrong with a file is explained at the line that is wrong."""

from pathlib import Path

import pytest

from model_foundry.config import load_config
from model_foundry.config.yaml_reader import parse_yaml
from model_foundry.errors import ConfigError
from tests.config.test_error_messages import line_of


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a:\n  b: 1\n c: 1\n", "3:2", "indented by 1 characters, the open sections above"),
        ("a:\n    b: 1\n  c: 1\n", "3:3", "indented by 2 characters, the open sections above"),
        ("a:\n  b: x\n    c: 1\n", "3:6", "line 2, which has a value, by 2; indent both alike"),
        ("a: 1\n\n# c\n  b: 2\n", "4:3", "indented by 2 characters, the open sections above"),
        ("a:\n\tb: 1\n", "2:1", "indent with spaces, not with tabs"),
        ("a:\n  b:5\n  c: 1\n", "2:3", "a space is missing after the colon"),
        ("a:\n  c: 1\n  b:5\n", "3:3", "a space is missing after the colon"),
        ("a: 1\nb\n", "2:1", "a key ends with a colon"),
        ("a: 'x\nb: 1\n", "1:4", "this quote is never closed"),
        ("a: [1, 2\nb: 1\n", "2:2", "the bracket of line 1 is not closed"),
        ("a: {b: 1\nc: 2\n", "2:2", "the bracket of line 1 is not closed"),
        ("a: *.txt\n", "1:5", "put the value in quotes"),
        ("a: *txt\n", "1:4", "text is put in quotes"),
        ("a: !x\n", "1:4", "text is put in quotes"),
        ("a: @x\n", "1:4", "put the value in quotes"),
        ("a: %x\n", "1:4", "put the value in quotes"),
        ("a: b: c\n", "1:5", "the value has a colon of its own; put it in quotes"),
        ('a: "C:\\Users"\n', "1:9", "or use single quotes"),
        ("a: 'it's'\n", "1:8", "more stands behind the closing quote"),
        ("a: 1\n- b\n", "2:1", "cannot stand side by side"),
        ("a: |x\n", "1:5", "put the value in quotes"),
        ("a:\r\n  b: 1\r\n c: 1\r\n", "3:2", "indented by 1 characters"),
    ],
)
def test_the_line_and_the_remedy(text: str, place: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "file")
    line = str(caught.value)
    assert line.startswith(f"file:{place}: not valid YAML: ")
    assert said in line


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("experiment_name=2024", "must be text, got 2024; put it in quotes: '2024'"),
        ("experiment_name=true", "put it in quotes: 'true'"),
        ("data.text_column=1.5", "put it in quotes: '1.5'"),
        ("tokenizer.lowercase=yes", "must be true or false, got 'yes'; write true"),
        ("tokenizer.lowercase=Off", "must be true or false, got 'Off'; write false"),
        ("training.max_steps=1e5", "must be an integer, got 100000.0; write 100000"),
        ("training.max_steps=10_000", "got '10_000'; write 10000"),
        ("training.max_steps='1,000,000'", "write 1000000"),
        ("training=null", "must be a mapping, got null; indent its settings below it"),
        ("training='max_steps:5'", "a space is missing after the colon"),
        ("data.train=~", "a ~ alone is null, the home directory is ~/"),
    ],
)
def test_a_value_of_another_type_is_told_how_to_write_it(override: str, said: str) -> None:
    assert said in line_of(override)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-16", "is UTF-16 text; save it as UTF-8"),
        ("utf-16-be", "is UTF-16 text; save it as UTF-8"),
        ("utf-32", "is UTF-32 text; save it as UTF-8"),
        ("latin-1", "not UTF-8 text at byte 25, in line 2; save it as UTF-8"),
    ],
)
def test_another_encoding_is_named(encoding: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("experiment_name: a\ndata: \u00f6\n".encode(encoding))
    with pytest.raises(ConfigError, match=said):
        load_config(tmp_path / "a.yaml")
