"""The multi-layer perceptron, over all pixels of an image at once.

Letters of shapes: B examples, C classes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

from torch import Tensor, nn

from model_foundry.architectures.base_model import BaseModel
from model_foundry.architectures.losses import classification_loss
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.registration import register_architecture
from model_foundry.config import DenseConfig, ExperimentConfig

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


@register_architecture("dense", "dense", (), kind="image_classifier")
class DenseModel(BaseModel):
    """A multi-layer perceptron (Rumelhart, Hinton and Williams 1986) that gives classes logits.

    Args:
        image_size: height and width in pixels.
        labels: their names, in the order of their numbers.
    """

    model_type = "dense"
    base_model_prefix = "hidden"

    def __init__(
        self,
        section: DenseConfig,
        *,
        num_channels: int,
        image_size: list[int],
        labels: Sequence[str],
    ) -> None:
        super().__init__()
        height, width = image_size
        sizes = [num_channels * height * width, *section.hidden_sizes]
        self.hidden = nn.Sequential(*(_layer(section, *pair) for pair in pairwise(sizes)))
        self.output = nn.Linear(sizes[-1], len(labels))

    @classmethod
    def from_config(
        cls, config: ExperimentConfig, *, multi_label: bool = False, **arguments: Any
    ) -> Self:
        """Make a model with random weights.

        Args:
            config: the experiment.
            multi_label: not read; the loss follows from the labels of a batch.
            **arguments: those of the class.
        """
        return cls(config.model.section, **arguments)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """Compute the logits, (B, C), and, given labels, the loss.

        Args:
            pixel_values: (B, ...), whose entries are read in one row.
            labels: see `classification_loss`.
        """
        logits = self.output(self.hidden(pixel_values.flatten(1)))
        return ModelOutput(loss=classification_loss(logits, labels), logits=logits)


def _layer(section: DenseConfig, inputs: int, outputs: int) -> nn.Sequential:
    norm = [nn.LayerNorm(outputs)] if section.norm else []
    activation, dropout = ACTIVATIONS[section.activation](), nn.Dropout(section.dropout)
    return nn.Sequential(nn.Linear(inputs, outputs), *norm, activation, dropout)
