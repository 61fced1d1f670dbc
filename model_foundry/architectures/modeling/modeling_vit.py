"""The vision transformer: an encoder that reads the patches of an image (Dosovitskiy et al. 2021,
arXiv:2010.11929).

No forward takes `**kwargs`, so that an unknown argument is refused by name.

Letters of shapes: B images, C channels, P height and width of a patch, N patches in rows and
columns Y x X, T positions (N, and one of the class token), H hidden size.
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, ImageClassifierOutput
from transformers.utils.generic import can_return_tuple

# Some versions of transformers copy only the files that this one names, so it names them all.
from .attention import MultiHeadAttention  # noqa: F401
from .configuration_transformer import TransformerConfig  # noqa: F401
from .configuration_vit import VisionTransformerConfig
from .feed_forward import FeedForward  # noqa: F401
from .key_value_cache import new_cache  # noqa: F401
from .masks import combined_mask  # noqa: F401
from .modeling_transformer import TransformerPreTrainedModel
from .normalization import create_norm  # noqa: F401
from .positions import create_positions  # noqa: F401
from .transformer_block import norm_of  # noqa: F401
from .transformer_stack import TransformerStack


class PatchEmbedding(nn.Module):
    """A linear projection of each patch, and the class token before them."""

    def __init__(self, config: VisionTransformerConfig):
        super().__init__()
        self.patch_size, self.image_size = config.patch_size, config.image_size
        inputs = config.num_channels * config.patch_size**2
        self.projection = nn.Linear(inputs, config.hidden_size)
        has_token = config.pooling == "cls"
        self.class_token = nn.Parameter(torch.zeros(config.hidden_size)) if has_token else None

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map images (B, C, P * Y, P * X) to embeddings (B, T, H).

        Raises:
            ValueError: the images have another size.
        """
        batch, channels, *size = pixel_values.shape
        if size != self.image_size:
            found, (height, width) = "{} x {}".format(*size), self.image_size
            law = f"are {found} pixels, but the model reads {height} x {width}"
            raise ValueError(f"`pixel_values` {law}; resize them.")
        rows, columns = (side // self.patch_size for side in size)
        shape = batch, channels, rows, self.patch_size, columns, self.patch_size
        pixels = pixel_values.to(self.projection.weight.dtype).reshape(shape)
        patches = pixels.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, N, C * P * P)
        x = self.projection(patches)  # (B, N, H)
        if self.class_token is None:
            return x
        return torch.cat([self.class_token.to(x.dtype).expand(batch, 1, -1), x], dim=1)


class VisionTransformerPreTrainedModel(TransformerPreTrainedModel):
    """The settings of transformers that both models share."""

    config_class = VisionTransformerConfig
    base_model_prefix = "vit"
    main_input_name = "pixel_values"
    input_modalities = ("image",)


class VisionTransformerModel(VisionTransformerPreTrainedModel):
    """Patches and one stack."""

    def __init__(self, config: VisionTransformerConfig):
        super().__init__(config)
        self.embed = PatchEmbedding(config)
        self.stack = TransformerStack(config, config.num_hidden_layers, causal=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw weights as in other encoders, and the class token as they are.

        Patches differ in size, so their projection keeps the variance of the pixels instead
        (LeCun et al. 1998), as in the code that was published with the paper. Learned positions are
        of that size, too: with 0.02, as published for millions of images, few images are learnt as
        if their patches had no places.
        """
        if module is self.embed.projection:
            init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)
        elif module is getattr(self.stack.positions, "embedding", None):
            learned = self.config.positions == "learned"
            init.normal_(module.weight, std=0.5 if learned else self.config.initializer_range)
        elif module is self.embed and module.class_token is not None:
            init.normal_(module.class_token, std=self.config.initializer_range)
        else:
            super()._init_weights(module)

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | None = None
    ) -> BaseModelOutput:
        """Read images (B, C, P * Y, P * X)."""
        states = self.stack(self.embed(pixel_values))
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return BaseModelOutput(
            last_hidden_state=states[-1],  # (B, T, H)
            hidden_states=tuple(states) if output_hidden_states else None,
        )


class VisionTransformerForImageClassification(VisionTransformerPreTrainedModel):
    """A classifier of images."""

    def __init__(self, config: VisionTransformerConfig):
        super().__init__(config)
        self.vit = VisionTransformerModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> ImageClassifierOutput:
        """Compute logits (B, labels) of images (B, C, P * Y, P * X) and, given labels, the loss.

        Args:
            labels: (B,) integers; of several labels each, (B, labels) of 0 and 1.
        """
        read = self.vit(pixel_values, output_hidden_states)
        hidden = read.last_hidden_state
        pooled = hidden[:, 0] if self.config.pooling == "cls" else hidden.mean(1)  # (B, H)
        logits = self.classifier(pooled)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss=loss, logits=logits, hidden_states=read.hidden_states)


VisionTransformerConfig.register_for_auto_class()
VisionTransformerModel.register_for_auto_class("AutoModel")
VisionTransformerForImageClassification.register_for_auto_class("AutoModelForImageClassification")
