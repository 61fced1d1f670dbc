"""docs/translation.md: its sources give one set of pairs, its experiment learns, its code runs."""

import json
import re
import shlex
from itertools import product
from pathlib import Path

import pytest
from pydantic import BaseModel

from model_foundry.config import load_config
from model_foundry.config.seq2seq import Seq2SeqConfig, SpanDenoisingConfig
from model_foundry.experiment.train import train
from model_foundry.objectives.preparation import prepare
from tests.task_runs import foundry

PAGE = (Path(__file__).parents[1] / "docs" / "translation.md").read_text(encoding="utf-8")
NUMBERS = {"two": "deux", "three": "trois", "four": "quatre", "ten": "dix"}
NOUNS = {"dogs": "chiens", "cats": "chats", "birds": "oiseaux"}
PLACES = {"": "", " here": " ici", " there": " là-bas"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the data and the experiment of the page."""
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"{number} {noun}{place}", f"{NUMBERS[number]} {NOUNS[noun]}{PLACES[place]}")
        for number, noun, place in product(NUMBERS, NOUNS, PLACES)
    ]
    for name, part in (("train", rows), ("val", rows[::3])):
        for column, suffix in enumerate(("en", "fr")):
            text = "".join(f"{row[column]}\n" for row in part)
            Path(f"{name}.{suffix}").write_text(text, encoding="utf-8")
    lines = [json.dumps({"source": source, "target": target}) for source, target in rows]
    Path("train.jsonl").write_text("\n".join(lines) + "\n")
    Path("pairs").mkdir()
    Path("pairs/train.jsonl").write_text("\n".join(lines) + "\n")
    Path("numbers.yaml").write_text(blocks("yaml")[0])
    return tmp_path


def test_all_sources_of_the_page_give_the_same_pairs() -> None:
    lines = [line.partition("  ")[0] for line in blocks("yaml")[1].splitlines()]
    given = [line.replace("train: ", "data.train=", 1) for line in lines]
    found = [prepare(load_config("numbers.yaml", overrides=[each])).content for each in given]
    assert len(found) == 3 and all(each == found[0] for each in found)


@pytest.mark.slow
def test_the_experiment_of_the_page_learns_and_its_code_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(load_config("numbers.yaml")).metrics["eval/exact_match"] == 1
    [asked] = [block.split() for block in blocks("sh") if block.startswith("foundry generate")]
    assert foundry(*shlex.split(" ".join(asked[1:]))) == (0, "deux chiens\n", "")
    exec(blocks("python")[0], {})
    assert capsys.readouterr().out == 2 * "['deux chiens', 'trois chats']\n"


@pytest.mark.parametrize(
    ("name", "section"), [("seq2seq_lm", Seq2SeqConfig), ("span_denoising", SpanDenoisingConfig)]
)
def test_the_tables_of_the_page_have_all_settings_and_their_defaults(
    name: str, section: type[BaseModel]
) -> None:
    table = PAGE.split(f"| `training.{name}` |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", table, re.M))
    defaults = section().model_dump()
    assert rows == {n: v if isinstance(v, str) else json.dumps(v) for n, v in defaults.items()}
