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
SIZES = (
    *("vocab_size", "hidden_size", "num_attention_heads"),
    *("num_hidden_layers", "encoder_layers", "decoder_layers"),
)


DEFAULTS = {
    "layout": "decoder",
    "vocab_size": 8000,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "activation": "gelu",
    "positions": "learned",
    "norm": "layer_norm",
    "norm_place": "pre",
    "norm_eps": 1e-5,
    "bias": True,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "max_position_embeddings": 1024,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "use_cache": True,
}


class TransformerConfig(PretrainedConfig):
    """Layout, sizes and kinds of a transformer; left out, they are as in `DEFAULTS`.

    Args:
        layout: `decoder` reads from left to right, `encoder` both ways, `encoder_decoder` reads a
            source both ways and writes a target from left to right.
        num_hidden_layers: blocks of the only stack, or of both where they are not given apart.
        encoder_layers, decoder_layers: blocks of the two stacks of `encoder_decoder`.
        source_vocab_size: tokens of the sources of `encoder_decoder`; None: `vocab_size` are those
            of sources and targets alike, with the same embeddings.
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

    def __init__(self, auto_map=None, tokenizer_class="PreTrainedTokenizerFast", **fields) -> None:
        for name, default in DEFAULTS.items():
            setattr(self, name, fields.pop(name, default))
        for name in ("encoder_layers", "decoder_layers"):
            given = fields.pop(name, None)
            setattr(self, name, self.num_hidden_layers if given is None else given)
        self.source_vocab_size = fields.pop("source_vocab_size", None)
        self._check()
        self.intermediate_size = fields.pop("intermediate_size", None) or 4 * self.hidden_size
        given = fields.pop("embedding_norm", None)
        as_bert = self.layout == "encoder" and self.norm_place == "post"
        self.embedding_norm = as_bert if given is None else given
        fields.setdefault("is_encoder_decoder", self.layout == "encoder_decoder")
        tied = {"tie_word_embeddings": self.tie_word_embeddings}
        super().__init__(tokenizer_class=tokenizer_class, **tied, **fields)
        self.auto_map = auto_map or auto_classes(self.layout)

    def _check(self):
        own = () if self.source_vocab_size is None else ("source_vocab_size",)
        for name in (*SIZES, *own):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"`{name}` must be a whole number above 0, got {value!r}.")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                names = ", ".join(known)
                raise ValueError(f"`{name}` must be one of {names}, got {getattr(self, name)!r}.")


def auto_classes(layout):
    """Return the `auto_map` of a model directory."""
    config = {"AutoConfig": "configuration_transformer.TransformerConfig"}
    if layout == "encoder_decoder":
        seq2seq = "modeling_encoder_decoder.TransformerForSeq2SeqLM"
        return config | {"AutoModelForSeq2SeqLM": seq2seq}
    head = LAYOUTS[layout]
    return config | {
        "AutoModel": "modeling_transformer.TransformerModel",
        f"AutoModelFor{head}": f"modeling_transformer.TransformerFor{head}",
    }
