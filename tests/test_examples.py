"""The examples are right: they differ only as they should, and run when scaled down."""

import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from model_foundry import load_config, train
from model_foundry.config import settings_without_effect
from model_foundry.data.corpus.splits import Splits
from model_foundry.evaluation import synthetic_language
from model_foundry.objectives.text import open_texts
from model_foundry.synthetic_language import load_language
from tests.data.corpora import texts_of

EXAMPLE = Path(__file__).parents[1] / "examples" / "controlled_rearing"
RUNS = ("removed", "control")
SENTENCES = 3000
SMALL = (
    f"data.train.language.sentences={SENTENCES}",
    "tokenizer.vocab_size=300",
    "model.transformer={layers: 1, hidden_size: 8, attention_heads: 1}",
    "training.max_steps=2",
    "training.warmup_steps=1",
    "training.eval_steps=2",
)
PAGES = (EXAMPLE / "README.md", EXAMPLE.parents[1] / "docs" / "controlled_rearing.md")
BLOCKS = [re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S) for page in PAGES]
COMMANDS = [shlex.split(line) for line in BLOCKS[0][0].splitlines()]
CONSTRUCTION = re.compile(r"\b[Aa]n? (?=\w)(?P<next>\w+)")
VARIED = {"experiment_name", "output_dir"}


def settings(name: str) -> dict[str, Any]:
    return load_config(EXAMPLE / f"{name}.yaml").model_dump(mode="json")


def texts(name: str) -> tuple[list[str], list[str]]:
    """Return the sentences that train and validate a run, scaled down."""
    splits: Splits = open_texts(load_config(EXAMPLE / f"{name}.yaml", overrides=SMALL[:1]))
    train, held_out = (texts_of(split) for split in (splits.train, splits.validation))
    return train, held_out


def adjectives() -> set[str]:
    """Return the adjectives of the grammar, which the pattern of the example must all have."""
    return {
        word
        for symbol, category in load_language().grammar.lexicon.items()
        if symbol.partition("[")[0].endswith("Adjective")
        for word in category.words
    }


def test_the_two_experiments_differ_in_the_control_alone() -> None:
    removed, control = (settings(name) for name in RUNS)
    [ours], [theirs] = (each["data"].pop("interventions") for each in (removed, control))
    assert {key for key in ours if ours[key] != theirs[key]} == {"control"}
    assert (ours["control"], theirs["control"]) == (False, True)
    assert {key for key in removed if removed[key] != control[key]} == VARIED


@pytest.mark.parametrize("name", RUNS)
def test_every_setting_has_an_effect(name: str) -> None:
    assert settings_without_effect(load_config(EXAMPLE / f"{name}.yaml")) == []


def test_the_texts_differ_as_they_should() -> None:
    all_adjectives = adjectives()

    def has_it(sentence: str) -> bool:
        return any(found["next"] in all_adjectives for found in CONSTRUCTION.finditer(sentence))

    (removed, held_out), (control, same) = (texts(name) for name in RUNS)
    assert held_out == same
    assert any(map(has_it, held_out))
    assert not any(map(has_it, removed))
    assert len(removed) == len(control) < SENTENCES - len(held_out)
    number = SENTENCES - len(held_out) - len(removed)
    assert sum(map(has_it, control)) == number  # all that there were: none of them was taken out
    assert len([text for text in control if not has_it(text)]) == len(removed) - number


def test_both_pages_have_the_same_commands() -> None:
    assert BLOCKS[0] == BLOCKS[1]
    assert [command[0] for command in COMMANDS] == ["foundry", "foundry", "python"]


def test_a_run_without_measurements_is_reported_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match=f"error: {tmp_path}: holds no finished run"):
        runpy.run_path(str(EXAMPLE / "compare.py"), run_name="__main__")


@pytest.mark.slow
def test_the_example_runs_from_training_to_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(synthetic_language, "PAIRS", 10)
    (tmp_path / "examples").symlink_to(EXAMPLE.parent)
    for program, *arguments in COMMANDS:
        if program == "foundry":
            assert arguments[0] == "train"
            train(load_config(arguments[1], overrides=SMALL))
        else:
            assert program == "python"
            monkeypatch.setattr(sys, "argv", [*arguments, "--pairs", "40"])
            runpy.run_path(arguments[0], run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["pairs", "articles-removed", "articles-control"]
    assert [line.split()[0] for line in lines[2:4]] == [
        "subject_verb_agreement_simple",
        "subject_verb_agreement_prepositional_attractor",
    ]
    by_article = [
        int(line.split()[3]) for line in lines if line.strip()[:2] in ("a ", "an") and "+" in line
    ]
    assert sum(by_article) == 40
    assert Path("comparison.png").read_bytes().startswith(b"\x89PNG")
