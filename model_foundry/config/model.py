"""The settings of a model: its architecture, and the section of that architecture."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, model_validator

from model_foundry.config.built_in import ARCHITECTURES
from model_foundry.config.huggingface import HuggingFaceConfig
from model_foundry.config.images import DenseConfig
from model_foundry.config.on_resume import OnResume
from model_foundry.config.registered_sections import OpenSection, required_fields
from model_foundry.config.sections import (
    AnyPath,
    BERTSpecificConfig,
    RNNModelConfig,
    TransformerModelConfig,
    faults_error,
)

Implementation = Literal["auto", "native", "transformers"]


class ModelConfig(OpenSection):
    """The architecture and its section; an architecture of another package brings its own."""

    architecture: str
    """A registered name, as `foundry list architectures` shows them, or one of a plugin."""
    transformer: TransformerModelConfig | None = None
    """For gpt2, bert and t5."""
    bert: BERTSpecificConfig | None = None
    """For bert; None: the defaults."""
    huggingface: HuggingFaceConfig | None = None
    """For huggingface."""
    dense: DenseConfig | None = None
    """For dense."""
    rnn: RNNModelConfig | None = None
    """For lstm, gru, min_gru, min_lstm and rnn."""
    init_from: Annotated[AnyPath | None, OnResume.BY_CONTENT] = None
    """Run, model or directory of transformers whose weights the model begins with: its body, and
    its head where the task is the same. None: random weights."""
    implementation: Implementation = "auto"
    """For gpt2 and bert: the network, made of transformers' classes or of this package's own blocks
    (`native`). Both compute the same and are saved alike; their first weights differ."""

    @classmethod
    def registered_sections(cls) -> dict[str, type[BaseModel]]:
        """Return the sections of plugins' architectures."""
        found = [spec.sections() for spec in ARCHITECTURES.known()]
        return {
            name: schema
            for sections in found
            for name, schema in sections.items()
            if name not in cls.model_fields
        }

    @property
    def section(self) -> Any:
        """The section that the architecture requires; None where it needs none."""
        name = ARCHITECTURES[self.architecture].section
        return getattr(self, name) if name else None

    @model_validator(mode="after")
    def _implementation_can_be_chosen(self) -> "ModelConfig":
        spec = ARCHITECTURES.get(self.architecture)
        if spec and self.implementation not in ("auto", *spec.implementations):
            having = ", ".join(each.name for each in ARCHITECTURES.known() if each.implementations)
            law = f"(={self.implementation}) is for {having}, not for {spec.name!r}; leave it out"
            raise faults_error(("implementation", law))
        return self

    @model_validator(mode="after")
    def _sections_belong_to_the_architecture(self) -> "ModelConfig":
        # A name that is not registered passes here, so that a plugin may come later; its sections
        # are checked once it is registered.
        spec = ARCHITECTURES.get(self.architecture)
        if spec is None:
            self.parse_sections(lambda name: None, frozenset(self.__pydantic_extra__ or ()))
            return self
        known = {**self.registered_sections(), **spec.sections()}
        self.parse_sections(known.get, frozenset())
        if spec.section and getattr(self, spec.section, None) is None:
            extra, schema = self.__pydantic_extra__, known[spec.section]
            of_plugin = spec.section not in type(self).model_fields
            if of_plugin and extra is not None and not required_fields(schema):
                extra[spec.section] = schema()
                return self
            law = f"Architecture {spec.name!r} requires {spec.section!r} configuration"
            raise faults_error(("", f"{law}; add the section model.{spec.section}"))
        return self
