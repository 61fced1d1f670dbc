"""docs/images.md: its sources give one set of examples, its experiment learns, its code runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from model_foundry.config import ImageClassificationConfig, Section, load_config
from model_foundry.config.images import PatchesConfig
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


CODE = """
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("runs/shapes/model", trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained("runs/shapes/model")
image = Image.open("shapes/left/01.png").convert("RGB").convert("L")
logits = model.eval()(**processor(image, return_tensors="pt")).logits
print(type(model).__module__.split(".")[0], model.config.id2label[int(logits.argmax())])
"""


def train_transformer(*overrides: str) -> None:
    model = f"model={yaml.safe_load(blocks('yaml')[2])['model']}"
    found = train(load_config("shapes.yaml", overrides=[model, *overrides]))
    assert found.metrics["eval/accuracy"] == 1


def run_alone(code: str, here: Path) -> str:
    """Return what code prints in a process without this package; nobody answers questions."""
    environment = {**os.environ, "HF_HOME": str(here / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        **{"env": environment, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.mark.slow
def test_the_transformer_of_the_page_is_loaded_without_this_package(here: Path) -> None:
    train_transformer()
    assert run_alone(CODE, here) == "transformers_modules left\n"


@pytest.mark.slow
def test_the_pipeline_of_the_page_classifies_images_in_colour(here: Path) -> None:
    train_transformer("training.image_classification.channels=3")
    assert run_alone(blocks("python")[1], here) == "left\n"


def test_the_transform_of_the_page_changes_the_training_only() -> None:
    given = f"training.transforms={yaml.safe_load(blocks('yaml')[3])['training']['transforms']}"
    plain, shifted = (prepare(load_config("shapes.yaml", overrides=each)) for each in ([], [given]))
    examples = plain.train.read([(0, index) for index in range(8)])
    for collate, before, same in (
        (shifted.collate, plain.collate, False),
        (shifted.evaluating, plain.evaluating, True),
    ):
        pixels = collate(examples)["pixel_values"], before(examples)["pixel_values"]
        assert pixels[0].equal(pixels[1]) is same


@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("training.image_classification", ImageClassificationConfig()),
        ("model.vit", PatchesConfig()),
    ],
)
def test_a_table_of_the_page_has_all_settings_and_their_defaults(
    key: str, section: Section
) -> None:
    table = PAGE.partition(f"| `{key}` | default |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", table, re.M))
    defaults = section.model_dump()
    assert rows == {n: v if isinstance(v, str) else json.dumps(v) for n, v in defaults.items()}
