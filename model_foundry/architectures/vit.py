"""The vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), made of this package's parts.

The network is in `modeling/modeling_vit.py`, which is saved with each model.
"""

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

from model_foundry.architectures.losses import classification_loss
from model_foundry.architectures.modeling.configuration_vit import VisionTransformerConfig
from model_foundry.architectures.modeling.modeling_vit import (
    VisionTransformerForImageClassification,
    VisionTransformerModel,
)
from model_foundry.architectures.native_transformer import NativeModel
from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import ExperimentConfig
from model_foundry.config.backbone import BackboneConfig
from model_foundry.config.images import PatchesConfig
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import short_repr

AutoConfig.register(VisionTransformerConfig.model_type, VisionTransformerConfig, exist_ok=True)
for auto_class, model_class in (
    (AutoModel, VisionTransformerModel),
    (AutoModelForImageClassification, VisionTransformerForImageClassification),
):
    auto_class.register(VisionTransformerConfig, model_class, exist_ok=True)

OF_TEXT = ("max_position_embeddings", "tie_word_embeddings")
"""Settings of `model.backbone` without a meaning for images."""
SEVERAL = "multi_label_classification"  # its name in transformers


@register_architecture("vit", kind="image_classifier")
class VisionTransformer(NativeModel):
    """An encoder that reads the patches of an image and gives it one label, or several."""

    hf_config_class = VisionTransformerConfig
    model_type = "vit"

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return `VisionTransformerForImageClassification`."""
        return VisionTransformerForImageClassification

    @classmethod
    def from_config(  # type: ignore[override]  # images have no default size
        cls,
        config: ExperimentConfig,
        *,
        num_channels: int,
        image_size: list[int],
        labels: Sequence[str],
        multi_label: bool = False,
    ) -> Self:
        """Create a model with random weights.

        Args:
            config: the experiment.
            num_channels: of each pixel.
            image_size: height and width in pixels.
            labels: their names, in the order of their numbers.
            multi_label: True if an image may have any number of labels.

        Raises:
            ConfigError: patches do not fill an image, or a setting is one of text.
        """
        _require_patches(cls.patches(config), *image_size)
        return super().from_config(
            config,
            num_channels=num_channels,
            image_size=image_size,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            problem_type=SEVERAL if multi_label else "single_label_classification",
        )

    @classmethod
    def check_settings(cls, config: ExperimentConfig) -> None:
        """Refuse settings of text, and patches that do not fill images of a given size.

        Raises:
            ConfigError: there is such a setting.
        """
        cls.hf_fields(config)
        section = config.training.section_of(config.training.objective)
        size = getattr(section, "image_size", None)
        if size is not None:
            _require_patches(cls.patches(config), size, size)

    @staticmethod
    def patches(config: ExperimentConfig) -> PatchesConfig:
        """Return `model.vit`, by default its defaults."""
        return getattr(config.model, "vit", None) or PatchesConfig()

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `VisionTransformerConfig` from `model.backbone` and `model.vit`.

        Raises:
            ConfigError: a setting is one of text.
        """
        for name in OF_TEXT:
            value = getattr(config.model.section, name)
            if value != BackboneConfig.model_fields[name].default:
                field = f"model.backbone.{name} (={short_repr(value)})"
                law = "is a setting of text, which 'vit' does not read; leave it out"
                raise ConfigError(f"{field} {law}")
        return super().hf_fields(config) | cls.patches(config).model_dump()

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss; see `classification_loss`."""
        found = classification_loss(logits, labels)
        assert found is not None
        return found

    @property
    def num_positions(self) -> None:
        """None: an image is no row of tokens."""


def _require_patches(section: PatchesConfig, height: int, width: int) -> None:
    """Raise a `ConfigError` unless patches fill an image."""
    size = section.patch_size
    if height % size or width % size:
        raise ConfigError(
            f"model.vit.patch_size (={size}) must divide height and width of the images, which are "
            f"{height} x {width} pixels; choose another, or set "
            "training.image_classification.image_size to a multiple of it."
        )
