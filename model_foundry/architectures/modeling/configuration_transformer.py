"""Configuration of the transformers made of this package's own parts."""

from transformers import PretrainedConfig

from .feed_forward import ACTIVATIONS, GATES
from .normalization import NORMS
from .positions import POSITIONS

LAYOUTS = {"decoder": "CausalLM", "encoder": "MaskedLM", "encoder_decoder": "Seq2SeqLM"}
CHOICES = {
    "layout": tuple(LAYOUTS),
    "activation": (*ACTIVATIONS, *GATES),
    "positions": POSITIONS,
    "norm": NORMS,
    "norm_place": ("pre", "post"),
}
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


class TransformerConfig(PretrainedConfig):
    """Layout, sizes and kinds of a transformer.

    Args:
        layout: `decoder` reads from left to right, `encoder` both ways, `encoder_decoder` reads a
            source both ways and writes a target from left to right.
        num_hidden_layers: of the only stack, or of both where they are not given apart.
        encoder_layers, decoder_layers: of the two stacks of `encoder_decoder`.
        intermediate_size: inner size of the feed-forward sublayers; None: 4 times `hidden_size`.
        activation, positions, norm: see `feed_forward.py`, `positions.py` and `normalization.py`.
        norm_place: `pre`, before each sublayer, or `post`, after its residual sum.
        norm_eps: added to the variance.
        embedding_norm: a norm on the embeddings; None: as BERT has it, in post-norm encoders.
        bias: biases in projections and norms.
        dropout: on embeddings and on the output of each sublayer.
        attention_dropout: on the attention weights.
        max_position_embeddings: the longest text; a limit only for learned positions.
        initializer_range: standard deviation of the initial weights.
    """

    model_type = "foundry_transformer"

    def __init__(
        self,
        layout="decoder",
        vocab_size=8000,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        encoder_layers=None,
        decoder_layers=None,
        intermediate_size=None,
        activation="gelu",
        positions="learned",
        norm="layer_norm",
        norm_place="pre",
        norm_eps=1e-5,
        embedding_norm=None,
        bias=True,
        dropout=0.1,
        attention_dropout=0.1,
        max_position_embeddings=1024,
        initializer_range=0.02,
        tie_word_embeddings=True,
        use_cache=True,
        tokenizer_class="PreTrainedTokenizerFast",
        auto_map=None,
        **kwargs,
    ):
        self.layout = layout
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.encoder_layers = encoder_layers or num_hidden_layers
        self.decoder_layers = decoder_layers or num_hidden_layers
        self.intermediate_size = intermediate_size or 4 * hidden_size
        self.activation = activation
        self.positions = positions
        self.norm = norm
        self.norm_place = norm_place
        self.norm_eps = norm_eps
        is_bert_like = layout == "encoder" and norm_place == "post"
        self.embedding_norm = is_bert_like if embedding_norm is None else embedding_norm
        self.bias = bias
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.use_cache = use_cache
        self._check()
        super().__init__(
            tie_word_embeddings=tie_word_embeddings,
            tokenizer_class=tokenizer_class,
            **{"is_encoder_decoder": layout == "encoder_decoder", **kwargs},
        )
        self.auto_map = auto_map or auto_classes(layout)

    def _check(self):
        for name in SIZES:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"`{name}` must be a whole number above 0, got {value!r}.")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                names = ", ".join(known)
                raise ValueError(f"`{name}` must be one of {names}, got {getattr(self, name)!r}.")


def auto_classes(layout):
    """Return the `auto_map` of a model directory."""
    head = LAYOUTS[layout]
    return {
        "AutoConfig": "configuration_transformer.TransformerConfig",
        "AutoModel": "modeling_transformer.TransformerModel",
        f"AutoModelFor{head}": f"modeling_transformer.TransformerFor{head}",
    }
