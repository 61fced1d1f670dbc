"""Configuration of classifiers of texts and tokens, for transformers 4 and 5."""

from transformers import AutoConfig, PretrainedConfig

from .configuration_recurrent import RecurrentConfig
from .configuration_transformer import TransformerConfig

POOLINGS = ("cls", "mean", "max", "last")
OWN_BODIES = {each.model_type: each for each in (RecurrentConfig, TransformerConfig)}
"""Configurations of bodies that transformers does not know, by their `model_type`."""


class ClassifierConfig(PretrainedConfig):
    """The body of a classifier, and its output layer.

    Args:
        body_config: configuration of the body, or its fields with its `model_type`.
        pooling: one vector for a text: the state at its first token (`cls`) or its last one, or the
            mean or the maximum over its tokens. A classifier of tokens does not read it.
        classifier_dropout: share of the inputs of the output layer that are dropped in training.
    """

    model_type = "foundry_classifier"
    sub_configs = {"body_config": AutoConfig}  # noqa: RUF012
    has_no_defaults_at_init = True  # there is no default body

    def __init__(
        self,
        body_config=None,
        pooling="mean",
        classifier_dropout=0.0,
        tokenizer_class="PreTrainedTokenizerFast",
        **kwargs,
    ):
        if pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {', '.join(POOLINGS)}, got {pooling!r}.")
        self.body_config = _configuration_of(body_config)
        self.pooling = pooling
        self.classifier_dropout = classifier_dropout
        super().__init__(
            **{"tie_word_embeddings": False, **kwargs}, tokenizer_class=tokenizer_class
        )


def _configuration_of(body):
    if body is None or isinstance(body, PretrainedConfig):
        return body
    fields = dict(body)
    name = fields.pop("model_type")
    if name in OWN_BODIES:
        return OWN_BODIES[name](**fields)
    return AutoConfig.for_model(name, **fields)


ClassifierConfig.register_for_auto_class()
