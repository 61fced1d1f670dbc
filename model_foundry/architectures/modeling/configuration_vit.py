"""Configuration of the vision transformer made of this package's own parts."""

from .configuration_transformer import TransformerConfig

POOLINGS = ("cls", "mean")
OF_TEXT = ("vocab_size", "use_cache")
"""Fields of `TransformerConfig` without a meaning for images."""


class VisionTransformerConfig(TransformerConfig):
    """The form of images, and the encoder that reads their patches.

    Args:
        num_channels: of each pixel.
        image_size: height and width in pixels, or one number for both; multiples of `patch_size`.
        patch_size: height and width of a patch in pixels.
        pooling: the vector that is classified, the state at the class token (`cls`), or the mean
            over the patches (`mean`), which then stand alone.
        auto_map: classes for transformers' Auto classes; None: those of this package.
        **fields: of `TransformerConfig`.
    """

    model_type = "foundry_vit"

    def __init__(
        self,
        num_channels=3,
        image_size=(224, 224),
        patch_size=16,
        pooling="cls",
        auto_map=None,
        **fields,
    ):
        height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
        if height % patch_size or width % patch_size:
            raise ValueError(
                f"`patch_size` (={patch_size}) must divide both sides of `image_size` "
                f"(={height} x {width})."
            )
        if pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {', '.join(POOLINGS)}, got {pooling!r}.")
        self.num_channels, self.patch_size, self.pooling = num_channels, patch_size, pooling
        self.image_size = [height, width]
        patches = height // patch_size * (width // patch_size)
        fields |= {"layout": "encoder", "tokenizer_class": None, "tie_word_embeddings": False}
        fields["max_position_embeddings"] = patches + (pooling == "cls")
        super().__init__(auto_map=auto_map or AUTO_CLASSES, **fields)
        for name in OF_TEXT:
            delattr(self, name)


AUTO_CLASSES = {
    "AutoConfig": "configuration_vit.VisionTransformerConfig",
    "AutoModel": "modeling_vit.VisionTransformerModel",
    "AutoModelForImageClassification": "modeling_vit.VisionTransformerForImageClassification",
}
