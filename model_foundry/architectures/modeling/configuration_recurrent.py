"""Configuration of the recurrent language models, for transformers 4 and 5."""

from transformers import PretrainedConfig

SIZES = ("vocab_size", "embedding_size", "hidden_size_per_direction", "num_hidden_layers")
FLAGS = ("bidirectional", "tie_word_embeddings", "use_cache")
KINDS = ("gru", "lstm", "min_gru", "min_lstm", "rnn")


class RecurrentConfig(PretrainedConfig):
    """Sizes and kind of a recurrent language model. It has no positions: texts may be any length.

    Args:
        hidden_size_per_direction: width of the state of one layer in one direction.
        hidden_size: width of a layer's output, both directions together, for heads of
            transformers; it follows from the above and must agree with it.
    """

    model_type = "foundry_rnn"

    def __init__(
        self,
        vocab_size=8000,
        embedding_size=256,
        hidden_size_per_direction=None,
        num_hidden_layers=1,
        rnn_type="lstm",
        bidirectional=False,
        dropout=0.0,
        tie_word_embeddings=False,
        hidden_size=None,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=True,
        tokenizer_class="PreTrainedTokenizerFast",
        auto_map=None,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size_per_direction = _per_direction(hidden_size_per_direction, hidden_size)
        self.num_hidden_layers = num_hidden_layers
        self.rnn_type = rnn_type
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.tie_word_embeddings = tie_word_embeddings
        self.use_cache = use_cache
        self._check()
        self.hidden_size = self.hidden_size_per_direction * (2 if bidirectional else 1)
        self._check_width(hidden_size)
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            tokenizer_class=tokenizer_class,
            **kwargs,
        )
        # every class that loads these weights, not only the one that saved them
        self.auto_map = auto_map or auto_classes(bidirectional=bidirectional)

    def _check(self):
        for name in SIZES:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"`{name}` must be a whole number above 0, got {value!r}.")
        for name in FLAGS:
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"`{name}` must be true or false, got {getattr(self, name)!r}.")
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout <= 1:
            raise ValueError(f"`dropout` must be between 0 and 1, got {self.dropout!r}.")
        if self.rnn_type not in KINDS:
            kinds = ", ".join(KINDS)
            raise ValueError(f"`rnn_type` must be one of {kinds}, got {self.rnn_type!r}.")

    def _check_width(self, hidden_size):
        if hidden_size not in (None, self.hidden_size):
            raise ValueError(
                f"`hidden_size` (={hidden_size!r}) is the width of the output, which is "
                f"{self.hidden_size} with `hidden_size_per_direction` "
                f"(={self.hidden_size_per_direction}); leave it out."
            )

    @property
    def embedding_scale(self) -> float:
        """Factor on the embeddings: tied ones are small, as an output matrix has to be."""
        return self.embedding_size**0.5 if self.tie_word_embeddings else 1.0

    @property
    def output_scale(self) -> float:
        """Factor on initial output matrices: minimal layers have states above 0, which add up."""
        return 0.5 if self.rnn_type.startswith("min_") else 1.0


def _per_direction(hidden_size_per_direction, hidden_size):
    if hidden_size_per_direction is not None:
        return hidden_size_per_direction
    if hidden_size is not None:
        raise ValueError(
            f"`hidden_size` (={hidden_size!r}) comes without `hidden_size_per_direction`, as "
            "in a config.json of an older version; save the model again."
        )
    return 256


def auto_classes(*, bidirectional):
    """Return the `auto_map` of a model directory."""
    head = "MaskedLM" if bidirectional else "CausalLM"
    classes = {"AutoModel": "RecurrentModel"}
    for task in (head, "SequenceClassification", "TokenClassification"):
        classes[f"AutoModelFor{task}"] = f"RecurrentFor{task}"
    code = {name: f"modeling_recurrent.{cls}" for name, cls in classes.items()}
    return {"AutoConfig": "configuration_recurrent.RecurrentConfig", **code}
