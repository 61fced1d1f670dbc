"""The example with handwritten digits: its script, and the experiments in configs/ that read it."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_foundry import load_config, train

ROOT = Path(__file__).parents[1]
SHORT = ("training.epochs=1", "training.warmup_steps=0")
EXPERIMENTS = ("dense_digits", "vit_digits")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The data of the example: digits, digits in folders, and three digits in each image."""
    pytest.importorskip("sklearn")
    for options in (
        ["digits"],
        ["folders", "--folders"],
        ["pasted", "--beside", "3", "--images", "400"],
    ):
        monkeypatch.setattr(sys, "argv", ["make.py", *options])
        runpy.run_path(str(ROOT / "examples/digits/make.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[:2] == ["train: 1,437 images", "test: 360 images"]


def write_dots(directory: Path) -> None:
    """Write images in the form of the example's: a bright row tells the label."""
    directory.mkdir()
    for name in ("train", "test"):
        labels = np.arange(80) % 4
        images = np.zeros((80, 8, 8), np.uint8)
        images[np.arange(80), labels * 2] = 200
        np.savez(directory / f"{name}.npz", image=images, label=labels.astype(str))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_shipped_experiments_learn(name: str, here: Path) -> None:
    write_dots(here / "digits")
    config = load_config(ROOT / f"configs/{name}.yaml", overrides=[*SHORT, "training.epochs=30"])
    assert train(config).metrics["eval/accuracy"] == 1


@pytest.mark.usefixtures("made")
def test_the_division_keeps_the_shares_of_the_classes(here: Path) -> None:
    arrays = {name: np.load(here / f"digits/{name}.npz") for name in ("train", "test")}
    counts = {
        name: np.unique(each["label"], return_counts=True)[1] for name, each in arrays.items()
    }
    whole = counts["train"] + counts["test"]
    assert np.abs(counts["test"] - whole / 5).max() < 1
    assert arrays["test"]["image"].shape == (360, 8, 8) and arrays["test"]["image"].max() == 255
    for name, each in arrays.items():
        files = sorted((here / "folders" / name).rglob("*.png"))
        written = {(path.parent.name, np.asarray(Image.open(path)).tobytes()) for path in files}
        pairs = zip(each["label"], each["image"], strict=True)
        assert len(files) == len(each["label"])
        assert written == {(label, image.tobytes()) for label, image in pairs}


@pytest.mark.usefixtures("made")
def test_pasted_digits_are_those_of_the_same_part_and_all_their_labels(here: Path) -> None:
    for name, number in (("train", 400), ("test", 100)):
        single, pasted = np.load(f"digits/{name}.npz"), np.load(f"pasted/{name}.npz")
        assert pasted["image"].shape == (number, 8, 24)
        pairs = zip(single["image"], single["label"], strict=True)
        label_of = {image.tobytes(): label for image, label in pairs}
        for wide, label in zip(pasted["image"], pasted["label"], strict=True):
            parts = [label_of[part.tobytes()] for part in np.split(wide, 3, axis=1)]
            assert label == ",".join(sorted(set(parts)))


@pytest.mark.slow
@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_data_of_the_example_train(name: str, here: Path) -> None:
    path = ROOT / f"configs/{name}.yaml"
    accuracy = train(load_config(path, overrides=SHORT)).metrics["eval/accuracy"]
    assert accuracy > 0.3  # after one pass; chance is 0.1
    pasted = ("data.train=pasted/train.npz", "data.validation=pasted/test.npz")
    several = ("training.image_classification.multi_label=true", "output_dir=runs/several")
    longer = ("training.epochs=20", "training.warmup_steps=0")
    result = train(load_config(path, overrides=[*longer, *pasted, *several]))
    assert result.best_metric == "micro_f1" and result.metrics["eval/micro_f1"] > 0.3
