"""The settings of a model: its architecture, and the section of that architecture."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from model_foundry.config.error_messages import describe
from model_foundry.config.sections import (
    BERTSpecificConfig,
    RNNModelConfig,
    Section,
    TransformerModelConfig,
    law_broken,
)
from model_foundry.config.specs import ARCHITECTURES


class ModelConfig(Section):
    """The architecture and its section; an architecture of another package brings its own."""

    model_config = ConfigDict(extra="allow")

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
        # A name that nobody registered passes here, so that a plugin may come later; its sections
        # are only looked at once the name means something.
        if self.architecture not in ARCHITECTURES:
            extra = self.model_extra or {}
            self._refuse({key for key, value in extra.items() if not isinstance(value, dict)})
            return self
        spec = ARCHITECTURES[self.architecture]
        foreign = set(self.model_extra or {}) - set(spec.sections())
        self._refuse(foreign)
        for key in set(self.model_extra or {}) & set(spec.sections()):
            self._parse_section(key, spec.sections()[key])
        if spec.section and getattr(self, spec.section, None) is None:
            raise law_broken(
                ("", f"Architecture {spec.name!r} requires {spec.section!r} configuration")
            )
        return self

    def _refuse(self, keys: set[str]) -> None:
        if keys:
            raise law_broken(*((key, "unknown key") for key in sorted(keys)))

    def _parse_section(self, key: str, schema: type[BaseModel]) -> None:
        extra = self.__pydantic_extra__ or {}
        try:
            extra[key] = schema.model_validate(extra[key])
        except ValidationError as error:
            faults = describe(error, schema)
            raise law_broken(*((f"{key}.{field}", said) for field, said in faults)) from error
