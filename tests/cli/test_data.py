"""`foundry data` and `foundry prepare`: their output and files, and that both are safe."""

import errno
import json
import struct
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from model_foundry.cli.data_report import shortened
from model_foundry.cli.histogram import draw_histogram, median_text
from model_foundry.config import load_config
from model_foundry.corpus_report import build_report
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.objectives.preparation import prepare
from tests.cli.conftest import Cli

EXPERIMENT = """
experiment_name: one
data: {train: corpus.txt, document: line, max_sequence_length: 8, preprocessing_num_workers: 0}
tokenizer: {tokenizer_type: character}
model: {architecture: gpt2, transformer: {layers: 1, hidden_size: 8, attention_heads: 2}}
training: {max_steps: 2, per_device_train_batch_size: 2}
"""
CORPUS = "".join(f"Line {number} of words, " * (1 + number % 5) + "\n" for number in range(40))


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an experiment, its corpus and its cache; the current one."""
    (here / "one.yaml").write_text(EXPERIMENT)
    (here / "corpus.txt").write_text(CORPUS)
    monkeypatch.setenv("FOUNDRY_CACHE", str(here / "cache"))
    return here


def line_of(out: str, label: str) -> list[str]:
    """Return the cells of a line of a table."""
    [line] = [line for line in out.splitlines() if line.strip().startswith(label)]
    return line.strip().removeprefix(label).split()


def size_of_png(path: Path) -> tuple[int, int]:
    """Return width and height in pixels, from the header."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_data_prints_and_writes_the_same_figures(cli: Cli, here: Path) -> None:
    code, out, err = cli("data", "one.yaml")
    assert code == 0
    record = json.loads((here / "runs/one.data/data.json").read_text())
    train, validation = record["splits"]
    assert train["documents"] + validation["documents"] == 40
    assert train["words"] + validation["words"] == len(CORPUS.split())
    for label, key in (("documents", "documents"), ("words", "words"), ("predicted", "predicted")):
        assert line_of(out.split("predicted:")[0], label) == [
            f"{s[key]:,}" for s in (train, validation)
        ]
    assert line_of(out, "longest") == [f"{s['lengths']['longest']:,}" for s in (train, validation)]
    assert "predicted: each token but the first of each block" in out
    assert len([line for line in out.splitlines() if line.startswith("row ")]) == 10
    assert "documents, " not in err  # the figures stand on the standard output alone


def test_the_picture_is_one(cli: Cli, here: Path) -> None:
    assert cli("data", "one.yaml", "--output", "figures")[0] == 0
    width, height = size_of_png(here / "figures/document_lengths.png")
    assert 900 <= width <= 2000 and 500 <= height <= 1500
    assert {path.name for path in (here / "figures").iterdir()} == {
        "data.json",
        "document_lengths.png",
    }


def test_a_picture_that_cannot_be_written_leaves_nothing(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(figure: Figure, path: Path, **settings: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    code, _, err = cli("data", "one.yaml", "--output", "figures")
    assert code == 8 and "document_lengths.png: cannot be written (No space left" in err
    assert [path.name for path in (here / "figures").iterdir()] == ["data.json"]


def test_the_areas_of_the_picture_are_the_shares_of_the_table(here: Path) -> None:
    config = load_config(here / "one.yaml")
    report = build_report(config, prepare(config))
    [axes] = draw_histogram(report).axes
    drawn = {patch.get_label(): patch.get_data() for patch in axes.patches}
    for split in report.splits:
        [steps] = [data for label, data in drawn.items() if label.startswith(split.name)]
        shares = [count / split.documents for count in split.lengths.histogram]
        areas = steps.values * np.diff(np.log2(steps.edges))
        assert areas.tolist() == pytest.approx(shares) and sum(areas) == pytest.approx(1.0)
        assert steps.edges.tolist() == report.length_edges
    assert axes.get_ylim()[0] == 0


def test_a_run_can_begin_afterwards(cli: Cli, here: Path) -> None:
    assert cli("data", "one.yaml")[0] == 0
    run = RunDirectory(here / "runs/one")
    assert not run.path.exists()
    run.require_usable()


@pytest.mark.parametrize("packing", ["blocks", "documents"])
def test_a_corpus_cannot_command_the_terminal(cli: Cli, here: Path, packing: str) -> None:
    hostile = "a \x1b[31mred\x07 \u202edrow\x9b2J [bold]b[/] :smile: <s>\n"
    (here / "corpus.txt").write_text(hostile * 30, encoding="utf-8")
    steps = "data.interventions=[{step: replace, pattern: '\\x07', by: \"\\x1b[0m\"}]"
    code, out, _ = cli("data", "one.yaml", f"data.packing={packing}", steps, "--examples")
    assert code == 0
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "\\x1b[31mred" in out
    assert "[bold]b[/] :smile:" in out  # no markup of ours either
    assert "train: step 1 replace {" in out


def test_a_terminal_without_these_characters_gets_their_numbers(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "corpus.txt").write_text("na\u00efve\n" * 40, encoding="utf-8")
    plain = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", plain)
    assert cli("data", "one.yaml")[0] == 0
    plain.seek(0)
    assert "na\\xefve" in plain.read()


def test_documents_that_steps_drop_are_told_beside_the_others(cli: Cli, here: Path) -> None:
    (here / "corpus.jsonl").write_text('{"text": " "}\n' + '{"text": "a word"}\n' * 9)
    step = "data.interventions=[{step: drop_duplicates}]"
    settings = ("data.train=corpus.jsonl", "data.validation=corpus.txt", step)
    code, out, _ = cli("data", "one.yaml", *settings, "data.max_sequence_length=2")
    assert code == 0
    assert line_of(out, "documents") == ["1", "40"]
    assert line_of(out, "left out: blank documents") == ["1", "0"]
    assert line_of(out, "left out: by step 1 drop_duplicates") == ["8", "0"]
    table = out.partition("train: step")[2].partition("validation: step")[0]
    assert line_of(table, "1 drop_duplicates") == ["9", "0", "8", "18", "2", "-"]


def test_a_step_has_one_number_wherever_it_is_told(cli: Cli, here: Path) -> None:
    steps = (
        "data.interventions=[{step: lowercase, splits: [validation]},"
        "{step: replace, pattern: words, by: bytes, splits: [train]},"
        "{step: drop_duplicates, splits: [train]}, {step: lowercase, splits: [validation]}]"
    )
    code, out, _ = cli("data", "one.yaml", steps, "--examples")
    assert code == 0
    tables = out.partition("train: step")[2].partition("tokens in a document")[0]
    train, _, validation = tables.partition("validation: step")
    listed = [
        [line.split()[0] for line in t.splitlines() if "-" in line] for t in (train, validation)
    ]
    assert listed == [["2", "3"], ["1", "4"]]
    told = [line.split()[:4] for line in out.splitlines() if ": step " in line and "  " not in line]
    assert told == [
        ["train:", "step", "2", "replace"],
        ["train:", "step", "3", "drop_duplicates"],
        ["validation:", "step", "1", "lowercase"],
        ["validation:", "step", "4", "lowercase"],
    ]


def test_documents_that_stay_are_not_told_as_left_out(cli: Cli, here: Path) -> None:
    (here / "held-out.txt").write_text("".join(CORPUS.splitlines(True)[:3]) + "Numbers 1 of 2\n")
    given = ("data.validation=held-out.txt", "data.max_sequence_length=4")
    out = cli("data", "one.yaml", *given)[1]
    assert "\nalso in the training text " in out and "left out" not in out.split("one pass")[0]
    assert line_of(out, "also in the training text") == ["-", "3"]
    dropped = cli("data", "one.yaml", *given, "data.shared_documents=drop")[1]
    assert line_of(dropped, "left out: in the training text too") == ["0", "3"]
    assert "also in the training text" not in dropped


def test_each_source_of_a_mixture_is_told(cli: Cli, here: Path) -> None:
    (here / "more.txt").write_text("".join(f"More {number} of it\n" for number in range(10)))
    parts = "{source: corpus.txt}, {source: more.txt, repeats: 2}"
    code, out, _ = cli(
        "data", "one.yaml", f"data.train={{mixture: [{parts}]}}", "data.validation=corpus.txt"
    )
    assert code == 0
    assert line_of(out, "from corpus.txt") == ["40", "-"]
    assert line_of(out, "from more.txt") == ["20", "-"]
    assert line_of(out, "documents") == ["60", "40"]
    [train, validation] = json.loads((here / "runs/one.data/data.json").read_text())["splits"]
    assert [source["documents"] for source in train["sources"]] == [40, 20]
    assert validation["sources"] == []
    assert "  from " not in cli("data", "one.yaml")[1]


@pytest.mark.parametrize("command", ["data", "prepare", "validate"])
def test_settings_without_effect_are_told_on_the_standard_error(cli: Cli, command: str) -> None:
    settings = ("data.validation_documents=5", "data.validation_fraction=0.2")
    code, out, err = cli(command, "one.yaml", *settings)
    assert code == 0
    line = "warning: data.validation_fraction has no effect: data.validation_documents is given"
    assert err.splitlines().count(line) == 1
    assert "no effect" not in out


def test_a_median_has_a_half_or_nothing() -> None:
    assert [median_text(median) for median in (7.0, 7.5, 1e6)] == ["7", "7.5", "1,000,000"]


def test_headings_of_three_texts_break_where_they_are_meant_to(cli: Cli) -> None:
    steps = "data.interventions=[{step: drop_sentences, pattern: '[3-9]'}]"
    out = cli("data", "one.yaml", "data.test=corpus.txt", steps)[1]  # 80 columns
    lines = [line.split() for line in out.splitlines()]
    lower = ["documents", "changed", "dropped", "before", "after", "removed"]
    for name in ("train", "validation", "test"):
        at = lines.index([f"{name}:", "step", *lower])
        assert lines[at - 1] == ["words", "words", "sentences"]
    assert ["tokens", "in", "a", "document", "train", "validation", "test"] in lines
    assert ["rows:", "blocks", "of", "8"] in lines


def test_a_place_that_cannot_be_written_is_named(cli: Cli, here: Path) -> None:
    code, out, err = cli("data", "one.yaml", "--output", "corpus.txt/figures")
    assert (code, out) == (8, "")
    assert err.splitlines()[-1] == "error: corpus.txt/figures: cannot be created (Not a directory)."


def test_streams_that_cannot_be_read_are_a_fault_of_the_corpus(cli: Cli) -> None:
    settings = ("data.packing=streams", "training.per_device_train_batch_size=4000")
    code, _, err = cli("data", "one.yaml", *settings)
    assert code == 3
    assert "'streams' needs a block for each of the 4000 rows of a step" in err


def test_prepare_makes_everything_once(cli: Cli, here: Path) -> None:
    code, out, err = cli("prepare", "one.yaml")
    assert code == 0
    assert (out.count(", new)"), out.count("already cached")) == (3, 0)
    assert [line.partition(":")[0] for line in out.splitlines()[::2]] == [
        "tokenizer",
        "train",
        "validation",
    ]
    assert "in 8" not in err and "tokens in" in out
    again = cli("prepare", "one.yaml")[1]
    assert again == out.replace(", new)", ", already cached)")


def test_prepare_tells_where_things_lie_and_how_large_they_are(cli: Cli) -> None:
    for line in cli("prepare", "one.yaml")[1].splitlines()[1::2]:
        directory, _, rest = line.strip().partition(" (")
        size = sum(path.stat().st_size for path in Path(directory).iterdir())
        assert rest.startswith(f"{size:,} bytes")


def test_a_tokenizer_that_is_named_is_not_looked_for_in_the_cache(cli: Cli) -> None:
    kept = cli("prepare", "one.yaml")[1].splitlines()[1].strip().partition(" (")[0]
    code, out, _ = cli("prepare", "one.yaml", f"tokenizer={{path: {kept}}}")
    assert code == 0
    assert out.splitlines()[1] == f"  {kept}, from tokenizer.path"


def test_long_text_is_cut_with_a_mark() -> None:
    assert shortened("a\nb", 10) == "a\\nb"
    assert shortened("abcdef", 4) == "abcd… (2 more)"
