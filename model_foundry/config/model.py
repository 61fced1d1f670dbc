"""The settings of a model: its architecture, and the section of that architecture."""

from typing import Any

from pydantic import BaseModel, ValidationError, model_validator

from model_foundry.config.error_messages import describe
from model_foundry.config.sections import (
    BERTSpecificConfig,
    RNNModelConfig,
    Section,
    TransformerModelConfig,
    faults_error,
)
from model_foundry.config.specs import ARCHITECTURES


class ModelConfig(Section, extra="allow"):
    """The architecture and its section; an architecture of another package brings its own."""

    architecture: str
    """A registered name: gpt2, bert, lstm, gru, rnn, or one of a plugin."""
    transformer: TransformerModelConfig | None = None
    """For gpt2 and bert."""
    bert: BERTSpecificConfig | None = None
    """For bert; None: the defaults."""
    rnn: RNNModelConfig | None = None
    """For lstm, gru and rnn."""

    @property
    def section(self) -> Any:
        """The section that the architecture requires; None where it needs none."""
        name = ARCHITECTURES[self.architecture].section
        return getattr(self, name) if name else None

    @model_validator(mode="after")
    def _sections_belong_to_the_architecture(self) -> "ModelConfig":
        # A name that is not registered passes here, so that a plugin may come later; its sections
        # are checked once it is registered.
        spec, extra = ARCHITECTURES.get(self.architecture), self.__pydantic_extra__ or {}
        known = spec.sections() if spec else {k for k, v in extra.items() if isinstance(v, dict)}
        if unknown := sorted(extra.keys() - known):
            raise faults_error(*((key, "unknown key") for key in unknown))
        if spec is None:
            return self
        for key in extra:
            extra[key] = _parse_section(key, extra[key], spec.sections()[key])
        if spec.section and getattr(self, spec.section, None) is None:
            law = f"Architecture {spec.name!r} requires {spec.section!r} configuration"
            raise faults_error(("", f"{law}; add the section model.{spec.section}"))
        return self


def _parse_section(key: str, value: Any, schema: type[BaseModel]) -> BaseModel:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        faults = describe(error, schema)
        raise faults_error(
            *((f"{key}.{field}".rstrip("."), message) for field, message in faults)
        ) from error
