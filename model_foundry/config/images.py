"""The settings of tasks on images, and of models of images only."""

from typing import Annotated, Literal

from pydantic import Field

from model_foundry.config.sections import ColumnsSection, Probability, Section, Width


class DenseConfig(Section):
    """A multi-layer perceptron."""

    hidden_sizes: Annotated[list[Width], Field(max_length=1000)]
    """Width of each hidden layer; []: none, which is logistic regression."""
    activation: Literal["gelu", "relu", "silu", "tanh"] = "relu"
    """Nonlinearity after each hidden layer."""
    dropout: Probability = 0.0
    """Dropout on the output of each hidden layer."""
    norm: Literal["layer_norm"] | None = None
    """Normalization before each nonlinearity; None: none."""


class PatchesConfig(Section):
    """The patches in which a vision transformer reads an image, and what it classifies."""

    patch_size: Annotated[int, Field(gt=0, le=4096)] = 16
    """Height and width of a patch in pixels; it divides those of the images."""
    pooling: Literal["cls", "mean"] = "cls"
    """Classify the state at a class token before the patches, or the mean over the patches, which
    then stand alone."""


class ImageClassificationConfig(ColumnsSection):
    """The columns with images and labels, and the form in which a model gets the images."""

    columns = ("image", "label")

    image: str = "image"
    """Column with the image: an encoded file, its path, nested lists of pixels (H, W) or
    (H, W, channels) from 0 to 255, or an image of a data set."""
    label: str = "label"
    """Column with the label; under `multi_label` with a list of labels, or a text with commas
    between them."""
    multi_label: bool = False
    """Each image has any number of labels, none included, instead of one."""
    image_size: Annotated[int, Field(gt=0, le=4096)] | None = None
    """Height and width in pixels to which images are resized; None: all must be of one size."""
    channels: Literal[1, 3] = 3
    """Channels to which images are converted: 1, grey, or 3, red, green and blue. Transparency is
    dropped."""
    freeze_body: bool = False
    """Train the output layer alone, a probe; the body computes as in evaluation."""
