"""docs/images.md: its sources give one set of examples, its experiment learns, its code runs."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model_foundry.config import ImageClassificationConfig, load_config
from model_foundry.experiment.train import train
from model_foundry.objectives.preparation import prepare
from tests.pictures import write_folder

PAGE = (Path(__file__).parents[1] / "docs" / "images.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the data and the experiment of the page."""
    monkeypatch.chdir(tmp_path)
    files = sorted(write_folder(Path("shapes")).rglob("*.png"))
    labels = [file.parent.name for file in files]
    images = [np.asarray(Image.open(file)) for file in files]
    np.savez("shapes.npz", image=np.stack(images), label=labels)
    encoded = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    pq.write_table(pa.table({"image": encoded, "label": labels}), "shapes.parquet")
    lines = [f"{file},{label}" for file, label in zip(files, labels, strict=True)]
    Path("shapes.csv").write_text("\n".join(["image,label", *lines]))
    write_folder(Path("described"))
    rows = [{"file_name": f"{f.relative_to('shapes')}", "label": f.parent.name} for f in files]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    Path("described/metadata.jsonl").write_text(text)
    Path("shapes.yaml").write_text(blocks("yaml")[0])
    return tmp_path


def test_all_sources_of_the_page_give_the_same_examples() -> None:
    lines = [line.partition("  ")[0] for line in blocks("yaml")[1].splitlines()]
    given = [line.replace("train: ", "data.train=", 1) for line in lines]
    found = [prepare(load_config("shapes.yaml", overrides=[each])).content for each in given]
    assert len(found) == 5 and all(each == found[0] for each in found)


def test_the_experiment_of_the_page_learns_and_its_code_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(load_config("shapes.yaml")).metrics["eval/accuracy"] == 1
    exec(blocks("python")[0], {})
    assert capsys.readouterr().out == "left\n"


def test_the_table_of_the_page_has_all_settings_and_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.M))
    defaults = ImageClassificationConfig().model_dump()
    said = {n: v if isinstance(v, str) else json.dumps(v) for n, v in defaults.items()}
    assert rows == said
