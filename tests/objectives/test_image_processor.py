"""Mean and standard deviation of pixels, and the file that keeps them, which transformers reads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from model_foundry.errors import DataError
from model_foundry.objectives.image_processor import FILE, ImageProcessor

PIXELS = np.random.default_rng(0).integers(0, 200, (7, 3, 6, 5)).astype(np.uint8)


@pytest.fixture
def processor() -> ImageProcessor:
    return ImageProcessor.of([PIXELS[:2], PIXELS[2:]], resize=False)


def test_the_statistics_are_those_of_all_images(processor: ImageProcessor) -> None:
    np.testing.assert_allclose(processor.mean, PIXELS.mean((0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(processor.std, PIXELS.std((0, 2, 3)) / 255, rtol=1e-12)
    assert (processor.size, processor.channels) == ((6, 5), 3)
    again = ImageProcessor.of([PIXELS[5:], PIXELS[:5]], resize=False)
    assert again.sha256 == processor.sha256
    assert ImageProcessor.of([PIXELS], resize=True).sha256 != processor.sha256


def test_transformers_prepares_an_image_alike(processor: ImageProcessor, tmp_path: Path) -> None:
    processor.save(tmp_path)
    theirs = AutoImageProcessor.from_pretrained(tmp_path)
    found = theirs(Image.fromarray(PIXELS[0].transpose(1, 2, 0)), return_tensors="pt")[
        "pixel_values"
    ]
    expected = processor.normalized(torch.from_numpy(PIXELS[:1]))
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=1e-5)


def test_it_is_read_as_it_was_saved(processor: ImageProcessor, tmp_path: Path) -> None:
    processor.save(tmp_path)
    assert ImageProcessor.load(tmp_path).sha256 == processor.sha256


@pytest.mark.parametrize(
    "change", [{"image_mean": [0.5]}, {"image_std": None}, {"size": 3}, {"do_rescale": False}]
)
def test_a_changed_file_is_refused(
    change: dict[str, object], processor: ImageProcessor, tmp_path: Path
) -> None:
    processor.save(tmp_path)
    record = json.loads((tmp_path / FILE).read_text()) | change
    (tmp_path / FILE).write_text(json.dumps(record))
    with pytest.raises(DataError, match=rf"^{tmp_path / FILE}: is not as it was saved; restore it"):
        ImageProcessor.load(tmp_path)
