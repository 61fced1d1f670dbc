"""The settings of transforms, `training.transforms`, and the registry of what they can name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from model_foundry.config.registered_sections import parsed_section
from model_foundry.config.sections import PositiveInt, Probability, Section
from model_foundry.config.specs import TransformSpec
from model_foundry.errors import ConfigError
from model_foundry.registry import Registry

Fault = tuple[str, str]


class Wiring(Section):
    """The tensors of a batch that a transform takes and gives; keys of each, beside its own."""

    keys: dict[str, str] = Field(default_factory=dict)
    """Name in the batch of each tensor that the function takes, by its parameter; one that is left
    out has the name of the parameter."""
    to: str | None = None
    """Name of the result in the batch; None: that of the first tensor taken."""
    on: Literal["training", "evaluation", "both"] | None = None
    """Batches that are changed; None: as it was registered, and both for a `function`."""


class NamedFunction(Wiring):
    """A function that is not registered."""

    function: str
    """`module:name`, of torch.nn.functional, torch.special or a plugin (`tasks:name` in
    tasks.py)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the function."""


class RandomShiftConfig(Section):
    """A random shift of an image."""

    pixels: PositiveInt
    """Most pixels in each direction."""


class NoiseConfig(Section):
    """Normal noise."""

    deviation: Annotated[float, Field(gt=0)]
    """Standard deviation of what is added."""


class TokenDropoutConfig(Section):
    """Tokens hidden at random, so that a model also learns from the others (word dropout; Iyyer et
    al. 2015)."""

    share: Probability
    """Probability that a token is replaced."""
    replacement: Annotated[int, Field(ge=0)] = 1
    """Id in place of the token; 1 is that of unknown text in the tokenizers trained here."""


class NormalizeConfig(Section):
    """Fixed figures to normalize by."""

    mean: float = 0.0
    """Subtracted from each number."""
    deviation: Annotated[float, Field(gt=0)] = 1.0
    """Each difference is divided by it."""


def _built_in(name: str, schema: type[BaseModel], on: Any) -> TransformSpec:
    target = f"model_foundry.objectives.tensor_transforms:{name}"
    return TransformSpec(name=name, target=target, schema=schema, on=on)


TRANSFORMS: Registry[TransformSpec] = Registry(
    "transform",
    (
        _built_in("add_noise", NoiseConfig, "training"),
        _built_in("normalize", NormalizeConfig, "both"),
        _built_in("random_shift", RandomShiftConfig, "training"),
        _built_in("token_dropout", TokenDropoutConfig, "training"),
    ),
    entry_points="model_foundry.transforms",
)
RESERVED = ("function", "rename")
"""Names of transforms that are not registered."""


@dataclass(frozen=True, kw_only=True)
class TransformStep:
    """One entry of `training.transforms`."""

    name: str
    """`rename`, `function`, or a registered name."""
    settings: dict[str, Any]
    """Arguments of the function; of `rename` the new name of each tensor."""
    wiring: Wiring = field(default_factory=Wiring)

    @property
    def on(self) -> str:
        """The batches that it changes."""
        registered = "both" if self.name in RESERVED else TRANSFORMS[self.name].on
        return self.wiring.on or registered


def parsed_transform(entry: Mapping[str, Any]) -> tuple[TransformStep | None, list[Fault]]:
    """Return an entry of `training.transforms`, or None, and its faults."""
    if "function" in entry:
        given, faults = parsed_section(entry, NamedFunction)
        return (None if faults else _step("function", given.settings, given)), faults
    if len(entry) != 1:
        found = ", ".join(entry) or "none"
        return None, [("", f"must be {{name: settings}} with one name, got {found}")]
    ((name, value),) = entry.items()
    if name == "rename":
        return _renaming(value)
    try:
        schema = class_of_settings(name)
    except ConfigError as error:  # unknown, or of a package that cannot be imported
        return None, [("", str(error))]
    given, faults = parsed_section({} if value is None else value, schema)
    if faults:
        return None, [(f"{name}.{place}".rstrip("."), law) for place, law in faults]
    own = {key: value for key, value in given if key not in Wiring.model_fields}
    return _step(name, own, given), []


def _step(name: str, settings: dict[str, Any], given: Any) -> TransformStep:
    wiring = Wiring(keys=given.keys, to=given.to, on=given.on)
    return TransformStep(name=name, settings=settings, wiring=wiring)


def _renaming(value: Any) -> tuple[TransformStep | None, list[Fault]]:
    names = value.values() if isinstance(value, dict) else ()
    if not names or not all(isinstance(name, str) for name in names):
        return None, [("rename", f"must be {{old name: new name}}, got {value!r}")]
    return TransformStep(name="rename", settings=value), []


def class_of_settings(name: str) -> type[BaseModel]:
    """Return the class of the settings of a registered transform, those of its wiring included.

    Raises:
        ConfigError: the name is not registered, or its package cannot be imported.
    """
    return _class_of(TRANSFORMS[name].schema or Section)


@cache
def _class_of(schema: type[BaseModel]) -> type[BaseModel]:
    """Return the class of a transform's settings with those of its wiring."""
    bases = (Wiring,) if issubclass(Wiring, schema) else (schema, Wiring)
    return type(schema.__name__, bases, {"__module__": __name__, "__doc__": schema.__doc__})


def faults_of_transforms(transforms: list[dict[str, Any]]) -> Iterator[Fault]:
    """Yield the faults of `training.transforms`."""
    for number, entry in enumerate(transforms):
        for place, law in parsed_transform(entry)[1]:
            yield f"training.transforms.{number}.{place}".rstrip("."), law
