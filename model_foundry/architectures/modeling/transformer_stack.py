"""A stack of blocks, which is an encoder, a decoder, or a decoder that has an encoder.

Letters of shapes: B rows, T new positions, S positions of the keys (those in the cache and the new
ones), M positions of the encoder's output, H hidden size.
"""

from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache

from .configuration_transformer import TransformerConfig
from .key_value_cache import LayerCache
from .masks import combined_mask, with_bias
from .positions import create_positions, number_tokens, number_within_documents
from .transformer_block import Residual, TransformerBlock, norm_of


class TransformerStack(nn.Module):
    """Positions, blocks, and the final norm without which a pre-norm stack would end in a sum.

    Args:
        config: sizes and kinds.
        num_layers: number of blocks.
        causal: hide later positions, as in a decoder.
        cross_attention: attend to an encoder's output as well.
    """

    def __init__(
        self,
        config: TransformerConfig,
        num_layers: int,
        *,
        causal: bool,
        cross_attention: bool = False,
    ):
        super().__init__()
        self.causal = causal
        self.positions = create_positions(
            config.positions,
            hidden_size=config.hidden_size,
            num_heads=config.num_attention_heads,
            num_positions=config.max_position_embeddings,
            causal=causal,
        )
        self.embedding_norm = norm_of(config) if config.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        fused = config._attn_implementation != "eager"
        self.blocks = nn.ModuleList(
            TransformerBlock(config, cross_attention=cross_attention, fused=fused)
            for _ in range(num_layers)
        )
        self._count_sums()
        self.final_norm = norm_of(config) if config.norm_place == "pre" else nn.Identity()
        self.gradient_checkpointing = False
        # transformers sets both when gradient checkpointing is turned on
        self._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def _count_sums(self) -> None:
        """Mark the last projection of each sublayer, whose initial weights depend on the depth."""
        residuals = [each for each in self.blocks.modules() if isinstance(each, Residual)]
        for residual in residuals:
            if residual.norm_first:
                residual.projection.num_sums = len(residuals)

    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> list[Tensor]:
        """Map embeddings x (B, T, H) to the states (B, T, H) before each block and at the end.

        Args:
            attention_mask: (B, S), 1 for real tokens, 0 for padding; None: all are real.
            document_ids: (B, T) numbers of documents that do not see each other, -1 at padding.
            position_ids: (B, T); None: counted from 0 without padding, in each document.
            memory: the encoder's output, (B, M, H).
            memory_mask: (B, M), as `attention_mask`.
            cache: holds the earlier S - T positions, and gets those of x.
        """
        past = 0 if cache is None else cache.get_seq_length()
        if position_ids is None:
            position_ids = self._number(x, past, attention_mask, document_ids)
        mask, is_causal = self._mask(x, past, attention_mask, document_ids)
        if memory_mask is not None:
            memory_mask = combined_mask(x.shape[1], memory_mask.shape[1], memory_mask)
        rotation = self.positions.rotation(position_ids)
        x = self.dropout(self.embedding_norm(self.positions.embed(x, position_ids)))
        states = [x]
        for layer, block in enumerate(self.blocks):
            slot = None if cache is None else LayerCache(cache, layer)
            options = {"is_causal": is_causal, "rotation": rotation, "cache": slot}
            states.append(self._run(block, states[-1], mask, memory, memory_mask, **options))
        states[-1] = self.final_norm(states[-1])
        return states

    def _number(self, x: Tensor, past: int, attention_mask, document_ids) -> Tensor:
        if document_ids is not None:
            return number_within_documents(document_ids, attention_mask)
        return number_tokens(x.shape, past, attention_mask, x.device)

    def _mask(
        self, x: Tensor, past: int, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> tuple[Tensor | None, bool]:
        """Return the mask of self-attention, and whether it is only that no query looks ahead."""
        length = x.shape[1]
        bias = self.positions.bias(length, past + length, x.device)
        if bias is None and attention_mask is None and document_ids is None and past == 0:
            return None, self.causal
        seen = combined_mask(
            length, past + length, attention_mask, document_ids, causal=self.causal, device=x.device
        )
        return with_bias(seen, None if bias is None else bias.to(x.dtype)), False

    def _run(self, block: nn.Module, *args, **kwargs) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(partial(block, **kwargs), *args)
        return block(*args, **kwargs)
