"""The treatment of a setting that has changed when a run is resumed, marked at its field."""

from enum import Enum

from pydantic import BaseModel

from model_foundry.config.fields import fields_below


class OnResume(Enum):
    """A mark in `Annotated[..., OnResume.FREE]`; a setting without a mark must be the same."""

    FREE = "free"
    """It may change: it only observes the training."""
    BY_CONTENT = "by content"
    """What it leads to is compared instead, such as the text in a file or the length of the run."""
    LAST_BITS = "last bits"
    """It may change with a warning: results agree, but not to the last bit."""


def marked(mark: OnResume, root: type[BaseModel]) -> tuple[str, ...]:
    """Return the dotted names of the settings below `root` that bear a mark."""
    return tuple(name for name, field in fields_below(root) if mark in field.metadata)
