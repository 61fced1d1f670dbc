"""Heads that classify texts and tokens on the body of any language model.

The network is in `modeling/modeling_classifier.py`, which is saved with each model.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from model_foundry.architectures.hf_model import HFModel
from model_foundry.architectures.modeling.configuration_classifier import ClassifierConfig
from model_foundry.architectures.modeling.modeling_classifier import (
    SEVERAL,
    ClassifierForSequenceClassification,
    ClassifierForTokenClassification,
    label_loss,
)
from model_foundry.architectures.registration import register_head
from model_foundry.architectures.saving.native_format import (
    ARCHITECTURE_KEY,
    KIND_KEY,
    LANGUAGE,
    Record,
    class_of,
)
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import ConfigError

AutoConfig.register(ClassifierConfig.model_type, ClassifierConfig, exist_ok=True)
for auto_class, network in (
    (AutoModelForSequenceClassification, ClassifierForSequenceClassification),
    (AutoModelForTokenClassification, ClassifierForTokenClassification),
):
    auto_class.register(ClassifierConfig, network, exist_ok=True)


class ClassifierHead(HFModel):
    """A language model whose output layer is one of labels."""

    hf_config_class: ClassVar[Any] = ClassifierConfig
    kind: ClassVar[str]
    """The kind of model that the head makes."""
    network: ClassVar[Any]
    """The class of the network."""

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return the class of the network."""
        return cls.network

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return nothing: all fields follow from the body and the labels."""
        return {}

    @classmethod
    def from_config(  # type: ignore[override]  # the labels have no default
        cls,
        config: ExperimentConfig,
        *,
        labels: Sequence[str],
        pooling: str = "mean",
        dropout: float = 0.0,
        multi_label: bool = False,
        **arguments: Any,
    ) -> Self:
        """Create a model with random weights.

        Args:
            config: the experiment, whose architecture gives the body.
            labels: their names, in the order of their numbers.
            pooling: see `ClassifierConfig`.
            dropout: dropout before the output layer.
            multi_label: True if a text may have any number of labels.
            **arguments: those of the architecture's `from_config`.

        Raises:
            ConfigError: the architecture is not made of transformers' classes.
        """
        name = config.model.architecture
        language = class_of(name, LANGUAGE).from_config(config, **arguments)
        if not isinstance(language, HFModel):
            law = f"{name!r} is no HFLanguageModel, so it has no body for {cls.kind!r}"
            raise ConfigError(f"model.architecture: {law}; use another, or register a head for it")
        body = language.hf_model.base_model
        # given here, since a configuration made without it resets that of its body
        hf_config = cls.hf_config_class(
            attn_implementation=body.config._attn_implementation,
            body_config=body.config,
            pooling=pooling,
            classifier_dropout=dropout,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            problem_type=SEVERAL if multi_label else "single_label_classification",
            pad_token_id=body.config.pad_token_id,
            **{ARCHITECTURE_KEY: name, KIND_KEY: cls.kind},
        )
        return cls(cls.network(hf_config, body), hf_config)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the labels: cross-entropy, of several labels binary."""
        return label_loss(logits, labels, self.hf_config.problem_type)

    def fixed_arguments(self) -> Record:
        """Return nothing: the network calls its body without a cache."""
        return {}

    @property
    def model_type(self) -> str:
        """The name of the architecture of the body."""
        return str(getattr(self.hf_config, ARCHITECTURE_KEY))

    @property
    def num_positions(self) -> int | None:
        """The number of positions of the body; None: any number."""
        body = self.hf_config.body_config
        if getattr(body, "positions", "learned") != "learned":  # of this package's own blocks
            return None
        held = getattr(body, "max_position_embeddings", None)
        return held and int(held) - int(self.hf_model.first_position)

    @property
    def attention_in_use(self) -> str | None:
        """The attention kernel of the body, by its name in transformers; None: no attention."""
        has_choice = "attn_implementation" in ARCHITECTURES[self.model_type].settings
        return str(self.hf_model.body.config._attn_implementation) if has_choice else None


@register_head("text_classifier")
class TextClassifier(ClassifierHead):
    """A language model that gives a text one label, or several."""

    kind = "text_classifier"
    network = ClassifierForSequenceClassification


@register_head("token_classifier")
class TokenClassifier(ClassifierHead):
    """A language model that gives each token a label."""

    kind = "token_classifier"
    network = ClassifierForTokenClassification
