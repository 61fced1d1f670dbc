"""The section of a model type of transformers."""

from typing import Literal

from pydantic import Field

from model_foundry.config.sections import Section


class HuggingFaceConfig(Section, extra="allow"):
    """A model type of transformers and the fields of its configuration class.

    The fields are checked when the model is made, since the library is slow to import. Vocabulary,
    special tokens and, unless given, the number of positions follow from the experiment.
    """

    model_type: str = Field(min_length=1)
    """Name of the type in transformers, such as `llama`; `-` may be written as `_`."""
    head: Literal["causal", "masked"] | None = None
    """Predict the next token, or masked ones; None: what the objective trains, else the only one
    that the type offers."""

    @property
    def fields(self) -> dict[str, object]:
        """The fields for the configuration class."""
        return dict(self.__pydantic_extra__ or {})


def direction(section: HuggingFaceConfig) -> bool | None:
    """Return True for a causal head, False for a masked one; None: the objective decides."""
    return None if section.head is None else section.head == "causal"
