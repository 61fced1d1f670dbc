"""The experiments that come with the package, as plain data with a line about each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from model_foundry.config.composition import compose_file
from model_foundry.config.json_schema import first_sentence
from model_foundry.config.shipped import shipped_configs
from model_foundry.config.training import TrainingConfig
from model_foundry.errors import ConfigError

MODELINE = "# yaml-language-server: $schema="
"""Begins the line that tells an editor the schema."""


@dataclass(frozen=True, kw_only=True)
class ShippedExperiment:
    """An experiment that comes with the package."""

    name: str
    """Name of its file without `.yaml`."""
    about: str
    """The beginning of its first comment, as a sentence."""
    values: dict[str, Any]
    """The settings that it gives."""

    @property
    def architecture(self) -> str:
        """The architecture of its model."""
        return str(self.values["model"]["architecture"])

    @property
    def objective(self) -> str:
        """The objective that it is trained with."""
        default = TrainingConfig.model_fields["objective"].default
        return str(self.values["training"].get("objective", default))

    @property
    def is_on_the_language(self) -> bool:
        """True if it trains on the built-in language, which is there at once."""
        train = self.values["data"]["train"]
        return isinstance(train, dict) and "language" in train


@cache
def shipped_experiments() -> dict[str, ShippedExperiment]:
    """Return the shipped experiments by name."""
    read = map(_read, sorted(shipped_configs().glob("*.yaml")))
    return {each.name: each for each in read if each is not None}


def _read(path: Path) -> ShippedExperiment | None:
    """Read an experiment; None: it is no whole one.

    In a checkout the directory may hold files of the user's own.
    """
    try:
        values = compose_file(path).data
    except ConfigError:
        return None
    model, data, training = (values.get(key) for key in ("model", "data", "training"))
    if not (isinstance(model, dict) and isinstance(data, dict) and isinstance(training, dict)):
        return None
    if "architecture" not in model or "train" not in data:
        return None
    comment = " ".join(_first_comment(path))
    about = first_sentence(comment.partition(": ")[0]).rstrip(".")
    return ShippedExperiment(name=path.stem, about=f"{about}.", values=values)


def _first_comment(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith(MODELINE):
            yield line.removeprefix("#").strip()
