"""docs/classification.md: its experiments can be run, and its transforms, too."""

import re
from pathlib import Path

import pytest
import yaml

from model_foundry.config import load_config
from model_foundry.objectives.preparation import prepare

PAGE = (Path(__file__).parents[1] / "docs" / "classification.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
WORDS = "1\tdogs\tdog\tNOUN\t_\t_\t2\tnsubj\t_\t_\n2\trun\trun\tVERB\t_\t_\t0\troot\t_\t_\n\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, with the data and the experiments of the page."""
    monkeypatch.chdir(tmp_path)
    rows = [f"a {word} film,{word}" for word in ("good", "bad") for _ in range(10)]
    Path("reviews.csv").write_text("\n".join(["review,stars", *rows]) + "\n")
    for name in ("train", "dev"):
        Path(f"{name}.conllu").write_text(4 * WORDS)
    Path("reviews.yaml").write_text(BLOCKS[0])


def test_the_first_experiment_is_complete() -> None:
    prepared = prepare(load_config("reviews.yaml", overrides=["tokenizer.tokenizer_type=word"]))
    assert prepared.first_batch().keys() == {"input_ids", "attention_mask", "labels"}


def test_the_second_has_its_settings_in_place_of_those_of_the_first() -> None:
    first, second = map(yaml.safe_load, BLOCKS)
    second["tokenizer"] = {"tokenizer_type": "word"}
    Path("tags.yaml").write_text(yaml.safe_dump(first | second | {"experiment_name": "tags"}))
    found = prepare(load_config("tags.yaml", overrides=["training.epochs=3"]))
    assert len(found.train) == 4


@pytest.mark.parametrize("name", ["classification.md", "translation.md"])
def test_the_transform_of_a_page_hides_tokens_in_training(name: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / name).read_text(encoding="utf-8")
    assert "(adding_a_task.md#transforms-and-other-names)" in page
    [given] = re.findall(r"`transforms: (.*?)`", page)
    overrides = ["tokenizer.tokenizer_type=word", f"training.transforms={given}"]
    prepared = prepare(load_config("reviews.yaml", overrides=overrides))
    examples = prepared.train.read([(0, index) for index in range(len(prepared.train))])
    hidden = [
        (f(examples)["input_ids"] == 1).any() for f in (prepared.collate, prepared.evaluating)
    ]
    assert hidden == [True, False]
