"""Image classification: one label for each image, or any number of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_foundry.data.batches.examples import Column, Examples
from model_foundry.data.batches.loaders import Collate
from model_foundry.data.sources.records import Records
from model_foundry.objectives.image_processor import ImageProcessor, Like, images_of
from model_foundry.objectives.label_column import LabelColumn
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.processors import IMAGE_PROCESSOR, Processor, Processors

PIXELS = "pixel_values"


class ImageClassification(LabelColumn):
    """Predict the label of an image, or all of its labels.

    A batch has `pixel_values` (B, C, H, W), normalized by the mean and the standard deviation of
    the training pixels, and `labels`: (B,) of integers, or (B, labels) of 0 and 1 under
    `multi_label`. In memory the pixels are bytes.
    """

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {
        IMAGE_PROCESSOR: ImageProcessor,
        "labels": Labels,
    }
    metrics_of_several: ClassVar[Sequence[str]] = ("micro_f1", "loss")

    @property
    def columns(self) -> Sequence[str]:
        # the first one is read to count records, which need not read images
        return [self.settings.label, self.settings.image]

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        names = set[str]()
        pixels = self._training_pixels(records, names)
        resize = self.settings.image_size is not None
        processor = ImageProcessor.of(pixels, resize=resize)
        labels = Labels.of(names, several=self.settings.multi_label)
        return {IMAGE_PROCESSOR: processor, "labels": labels}

    def _training_pixels(
        self, records: Iterable[Records], names: set[str]
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of images, (N, C, H, W), and add their labels to `names`."""
        settings, like = self.settings, None
        for each in filter(len, records):
            names.update(name for row in self.labels_in(each) for name in row)
            pixels = images_of(
                each, settings.image, settings.channels, settings.image_size, like=like
            )
            like = like or Like.first_of(each, settings.image, pixels)
            yield pixels

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        images, labels = _of(processors)
        targets = self.targets_in(records, labels)
        return {PIXELS: images.encode(records, self.settings.image), "labels": targets}

    def collate(self, processors: Processors, *, seed: int, evaluating: bool) -> Collate:
        images, _ = _of(processors)
        return partial(
            _normalized, super().collate(processors, seed=seed, evaluating=evaluating), images
        )

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        images, labels = _of(processors)
        return {
            "num_channels": images.channels,
            "image_size": list(images.size),
            "labels": labels.names,
            "multi_label": self.settings.multi_label,
            "freeze_body": self.settings.freeze_body,
        }


def _normalized(collate: Collate, images: ImageProcessor, examples: Examples) -> dict[str, Tensor]:
    batch = collate(examples)
    return {**batch, PIXELS: images.normalized(batch[PIXELS])}


def _of(processors: Processors) -> tuple[ImageProcessor, Labels]:
    images, labels = processors[IMAGE_PROCESSOR], processors["labels"]
    assert isinstance(images, ImageProcessor) and isinstance(labels, Labels)
    return images, labels
