"""Image classification: the tensors of a batch, what is learnt, and what is refused."""

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from model_foundry.config import ExperimentConfig, validate
from model_foundry.doctor.same_run import differences
from model_foundry.errors import ConfigError, DataError, ResumeError
from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from model_foundry.model import load_model
from model_foundry.objectives import Prepared
from model_foundry.objectives.preparation import prepare
from tests.pictures import HALVES, encoded, picture, write_folder

SEVERAL = "training.image_classification.multi_label"
LABELS = [["bottom"] * a + ["left"] * b + ["right"] * c for a, b, c in product((0, 1), repeat=3)]


def experiment(
    source: Any, place: Path, *, data: Any = None, training: Any = None, **settings: Any
) -> ExperimentConfig:
    raw = {
        "experiment_name": "pictures",
        "output_dir": str(place / "run"),
        "data": {"train": source, "validation_fraction": 0.25, **(data or {})},
        "model": {"architecture": "dense", "dense": {"hidden_sizes": [16]}},
        "training": {
            **{"objective": "image_classification", "max_steps": 40, "learning_rate": 0.02},
            **{"per_device_train_batch_size": 8, "eval_steps": 10, "save_steps": 10},
            "image_classification": {"channels": 1, **settings},
            **(training or {}),
        },
    }
    return validate(raw, "pictures")


def refusal(config: ExperimentConfig, place: Path, error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as caught:
        prepare(config)
    assert "\n" not in f"{caught.value}"
    return f"{caught.value}".replace(f"{place}/", "")


def batch_of(prepared: Prepared, *, number: int = 4) -> dict[str, torch.Tensor]:
    return prepared.collate(prepared.train.read([(0, n) for n in range(number)]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures")


@pytest.fixture
def several(tmp_path: Path) -> str:
    """A file of pictures with zero to three labels each."""
    rows = [(labels, n) for n in range(12) for labels in LABELS]
    lines = [{"image": picture(*labels, seed=n).tolist(), "label": labels} for labels, n in rows]
    path = tmp_path / "several.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_a_batch_has_normalized_pixels_and_numbered_labels(folder: Path, tmp_path: Path) -> None:
    prepared = prepare(experiment({"images": str(folder)}, tmp_path))
    columns = prepared.train.columns  # type: ignore[attr-defined]
    pixels, labels = columns["pixel_values"], columns["labels"]
    assert pixels.dtype == np.uint8 and pixels.shape == (27, 1, 6, 6)
    batch = batch_of(prepared)
    assert batch["labels"].dtype == torch.int64 and batch["labels"].tolist() == list(labels[:4])
    expected = (pixels[:4] - pixels.mean()) / pixels.std()
    assert batch["pixel_values"].dtype == torch.float32
    np.testing.assert_allclose(batch["pixel_values"], expected, atol=1e-5)
    assert prepared.objective.model_arguments(prepared.processors) == {
        **{"num_channels": 1, "image_size": [6, 6]},
        **{"labels": list(HALVES), "multi_label": False, "freeze_body": False},
    }


def test_each_channel_is_normalized_by_itself(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, [50, 100, 250], (9, 4, 2, 3))
    colour[..., 1] = 7
    np.savez(tmp_path / "a.npz", image=colour, label=np.arange(9) % 2)
    prepared = prepare(experiment(str(tmp_path / "a.npz"), tmp_path, channels=3))
    pixels = prepared.train.columns["pixel_values"]  # type: ignore[attr-defined]
    found = batch_of(prepared, number=len(pixels))["pixel_values"]
    mean, std = found.mean((0, 2, 3)), found.std((0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.tensor([1.0, 0, 1]))  # a constant channel stays at zero
    assert found.shape == (len(pixels), 3, 4, 2)


@pytest.mark.parametrize("kind", ["npz", "parquet", "structs", "disk", "hub", "paths"])
def test_every_source_of_images_gives_the_examples_of_the_folder(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    files = sorted(folder.rglob("*.png"))
    labels = [file.parent.name for file in files]
    images = [np.asarray(Image.open(file)) for file in files]
    place = tmp_path / f"a.{kind}"
    source: Any = str(place)
    if kind == "npz":
        np.savez(place, image=np.stack(images), label=labels)
    elif kind == "parquet":
        table = {"image": [image.tolist() for image in images], "label": labels}
        pq.write_table(pa.table(table), place)
    elif kind == "structs":
        source = str(tmp_path / "a.parquet")
        table = {"image": [{"bytes": f.read_bytes(), "path": f.name} for f in files]}
        pq.write_table(pa.table(table | {"label": labels}), source)
    elif kind == "disk":
        rows = {"image": [Image.fromarray(image) for image in images], "label": labels}
        datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).save_to_disk(place)
        source = {"disk": str(place)}
    elif kind == "hub":
        lines = [{"file_name": f"{f.relative_to(folder)}", "label": f.parent.name} for f in files]
        metadata = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metadata.jsonl").write_text(metadata)
        source = {"hub": str(folder)}
    else:
        source = str(tmp_path / "a.csv")
        lines = [f"{f},{f.parent.name}" for f in files]
        Path(source).write_text("\n".join(["image,label", *lines]))
    found = prepare(experiment(source, tmp_path)).content
    (folder / "metadata.jsonl").unlink(missing_ok=True)
    assert found == prepare(experiment({"images": str(folder)}, tmp_path)).content


def test_images_are_learnt(folder: Path, tmp_path: Path) -> None:
    result = train(experiment({"images": str(folder)}, tmp_path))
    assert result.metrics["eval/accuracy"] == 1
    written = json.loads((result.model_dir / "preprocessor_config.json").read_text())
    pixels, size = torch.from_numpy(picture("right", seed=99)), written["size"]
    assert (size["height"], size["width"]) == pixels.shape
    values = (pixels * written["rescale_factor"] - written["image_mean"][0]) / written["image_std"][
        0
    ]
    logits = load_model(result.output_dir)(pixel_values=values[None, None]).logits
    assert list(HALVES)[int(logits.argmax())] == "right"


def test_several_labels_are_learnt(several: str, tmp_path: Path) -> None:
    training = {"max_steps": 80}
    config = experiment(several, tmp_path, training=training, multi_label=True)
    batch = batch_of(prepare(config), number=8)
    assert batch["labels"].dtype == torch.float32 and batch["labels"].shape == (8, 3)
    assert set(batch["labels"].unique().tolist()) == {0, 1}
    result = train(config)
    assert result.best_metric == "micro_f1" and result.metrics["eval/micro_f1"] > 0.9


def test_a_run_that_fails_and_resumes_is_the_uninterrupted_one(
    folder: Path, tmp_path: Path
) -> None:
    source, training = {"images": str(folder)}, {"train_metrics": ["accuracy"]}
    whole = train(experiment(source, tmp_path / "whole", training=training)).output_dir
    config = experiment(source, tmp_path / "resumed", training=training)

    def stop(point: str) -> None:
        if point.endswith("step 25 made"):
            raise RuntimeError(point)

    with watching(stop), pytest.raises(RuntimeError, match="step 25"):
        train(config)
    assert differences(whole, train(config).output_dir) == []


def test_other_pixels_are_refused_on_resume(folder: Path, tmp_path: Path) -> None:
    config = experiment({"images": str(folder)}, tmp_path, training={"max_steps": 10})
    train(config)
    (folder / "left" / "00.png").write_bytes(encoded(picture("left", seed=77)))
    config.training.max_steps = 20
    with pytest.raises(ResumeError, match="data"):
        train(config, extend=True)


def test_images_of_several_sizes_need_a_size(folder: Path, tmp_path: Path) -> None:
    wide = np.repeat(picture("right"), 2, axis=1)
    (folder / "right" / "00.png").write_bytes(encoded(wide))
    source = {"images": str(folder)}
    law = (
        "pictures/right/00.png: 'image' is 6 x 12 pixels, unlike pictures/bottom/00.png, which is "
    )
    law += "6 x 6; set training.image_classification.image_size to resize all"
    data = {"validation": source}
    assert refusal(experiment(source, tmp_path, data=data), tmp_path) == law
    other = shutil.copytree(folder, tmp_path / "other")
    (folder / "right" / "00.png").unlink()
    config = experiment(source, tmp_path, data={"validation": {"images": str(other)}})
    law = law.replace("pictures/bottom/00.png, which is", "the training images, which are")
    assert refusal(config, tmp_path) == law.replace("pictures/", "other/")
    prepared = prepare(experiment({"images": str(other)}, tmp_path, image_size=5))
    assert batch_of(prepared)["pixel_values"].shape == (4, 1, 5, 5)


def test_an_image_that_cannot_be_decoded_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "left" / "03.png").write_bytes(b"no image")
    law = "pictures/left/03.png: 'image' is of no known format of images; correct it, or remove"
    assert refusal(experiment({"images": str(folder)}, tmp_path), tmp_path).startswith(law)


def test_a_label_that_training_lacks_is_refused(folder: Path, several: str, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "left").rename(other / "middle")
    data = {"validation": {"images": str(other)}}
    law = "'label' is 'middle', a label that the training data do not have ('bottom', 'left', 'ri"
    found = refusal(experiment({"images": str(folder)}, tmp_path, data=data), tmp_path)
    assert found.startswith(f"other/middle/00.png: {law}")
    rows = json.dumps({"image": picture().tolist(), "label": ["left", "top"]})
    (tmp_path / "more.jsonl").write_text(rows)
    data = {"validation": str(tmp_path / "more.jsonl")}
    found = refusal(experiment(several, tmp_path, data=data, multi_label=True), tmp_path)
    assert found.startswith("more.jsonl: line 1: 'label' is 'top', a label that the training data")


def test_labels_of_the_other_form_are_refused(several: str, tmp_path: Path) -> None:
    law = "several.jsonl: line 2: 'label' is ['right'], not a label (a text or an integer); correct"
    assert refusal(experiment(several, tmp_path), tmp_path).startswith(law)
    (tmp_path / "one.jsonl").write_text(json.dumps({"image": picture().tolist(), "label": 3}))
    data = {"validation": str(tmp_path / "one.jsonl")}
    found = refusal(experiment(several, tmp_path, data=data, multi_label=True), tmp_path)
    assert found.startswith("one.jsonl: line 1: 'label' is 3, not a list of texts; correct it")


def test_the_name_of_a_folder_may_have_several_labels(folder: Path, tmp_path: Path) -> None:
    (folder / "bottom").rename(folder / "left, right")
    source = {"images": str(folder)}
    train = prepare(experiment(source, tmp_path, multi_label=True)).train
    labels = train.columns["labels"]  # type: ignore[attr-defined]
    assert {tuple(row) for row in labels.tolist()} == {(1, 0), (0, 1), (1, 1)}


def test_a_missing_column_is_named_with_its_setting(several: str, tmp_path: Path) -> None:
    found = refusal(experiment(several, tmp_path, image="images"), tmp_path)
    assert "training.image_classification.image='images'" in found


@pytest.mark.parametrize(
    ("multi_label", "metric", "message"),
    [
        (
            False,
            "micro_f1",
            "'micro_f1' is for examples with several, and .*multi_label is false; name accuracy",
        ),
        (True, "accuracy", "'accuracy' is for examples with one label, .* name micro_f1 or mac"),
    ],
)
def test_a_metric_of_other_labels_is_refused(
    multi_label: bool, metric: str, message: str, folder: Path, several: str, tmp_path: Path
) -> None:
    source = several if multi_label else {"images": str(folder)}
    training = {"metrics": [metric, "loss"]}
    with pytest.raises(ConfigError, match=f"training.metrics: {message}"):
        experiment(source, tmp_path, training=training, multi_label=multi_label)
    assert not (tmp_path / "run").exists()
