"""Configuration of the recurrent language models, as transformers reads and writes it."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class RecurrentConfig(PreTrainedConfig):
    """Sizes and kind of a recurrent language model.

    `max_position_embeddings` is the block length in training. It limits nothing; evaluation tools
    read it as the longest context.
    """

    model_type = "foundry_rnn"

    vocab_size: int = 8000
    embedding_size: int = 256
    hidden_size: int = 256
    num_hidden_layers: int = 1
    rnn_type: str = "lstm"
    bidirectional: bool = False
    dropout: float = 0.0
    max_position_embeddings: int = 128
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs):
        """Check what holds between the fields."""
        if self.rnn_type not in ("lstm", "gru", "rnn"):
            raise ValueError(f"`rnn_type` must be lstm, gru or rnn, got {self.rnn_type!r}.")
        super().__post_init__(**kwargs)

    @property
    def output_size(self) -> int:
        """Width of what one layer puts out, both directions together."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    @property
    def embedding_scale(self) -> float:
        """Factor on the embeddings: tied ones are small, as an output matrix must be."""
        return self.embedding_size**0.5 if self.tie_word_embeddings else 1.0
