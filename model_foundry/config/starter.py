"""The first experiment file of a project, made from shipped experiments or from a section."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from model_foundry.config.built_in import ARCHITECTURES, OBJECTIVES
from model_foundry.config.commented_yaml import commented
from model_foundry.config.data import DataConfig
from model_foundry.config.fields import flat
from model_foundry.config.interpolation import MUST_BE_GIVEN
from model_foundry.config.schema_place import modeline
from model_foundry.config.setting_lines import setting_line
from model_foundry.config.shipped_experiments import ShippedExperiment, shipped_experiments
from model_foundry.config.specs import ArchitectureSpec
from model_foundry.errors import ConfigError
from model_foundry.registry import nearest

Values = dict[str, Any]
PLAIN: Final = "tiny_gpt2"
"""The shipped experiment with whose data and training a model begins that none suits."""
OWN_TEXT: Final = (
    "The built-in language, which is there at once. For a text of your own:",
    "  train: corpus.txt",
    "or a folder, a glob, a list of them, {hub: OWNER/NAME}; `foundry list sources` shows all.",
)


@dataclass(frozen=True, kw_only=True)
class Starter:
    """A file to begin with."""

    text: str
    """Its content."""
    origin: str | None
    """Name of the shipped experiment that has its model; None: no shipped one has it."""
    missing: list[str]
    """Dotted names of the settings that have yet to be given."""


def make_starter(file: Path, architecture: str | None, shipped: str | None) -> Starter:
    """Return the content of a first experiment file.

    Args:
        file: its path, which gives the experiment its name.
        architecture: a registered name; None: that of `shipped`.
        shipped: name of a shipped experiment to begin with; None: one of the architecture, on the
            built-in language if there is one.

    Raises:
        ConfigError: neither is given, one of them is unknown, or they do not fit together.
    """
    begin: ShippedExperiment | None = None
    if shipped is not None:
        begin = _shipped(shipped)
        spec = ARCHITECTURES[architecture or begin.architecture]
        _check_same(begin, spec)
        values = deepcopy(begin.values)
    elif architecture is not None:
        spec = ARCHITECTURES[architecture]
        values = _values_for(spec)
    else:
        raise ConfigError(
            "name an architecture with --architecture (`foundry list architectures`) or a shipped "
            "experiment with --from (`foundry list configs`)"
        )
    found = begin or next(iter(_of(spec)), None)
    origin = None if found is None else found.name
    values = {**values, "experiment_name": _run_name(file.stem), "data": _data(values["data"])}
    lines = [modeline(file), *_header(file, spec, origin)]
    lines += [*commented(values, _notes(values, spec)), ""]
    missing = [name for name, value in flat(values) if value == MUST_BE_GIVEN]
    return Starter(text="\n".join(lines), origin=origin, missing=missing)


def _shipped(name: str) -> ShippedExperiment:
    known, plain = shipped_experiments(), Path(name).name.removesuffix(".yaml")
    if plain in known:
        return known[plain]
    close = nearest(plain, list(known))
    hint = f"did you mean {close!r}?" if close else "`foundry list configs` shows all"
    raise ConfigError(f"--from: there is no shipped experiment {name!r}; {hint}")


def _check_same(begin: ShippedExperiment, spec: ArchitectureSpec) -> None:
    if begin.architecture != spec.name:
        law = f"{begin.name!r} has the architecture {begin.architecture!r}, not {spec.name!r}"
        raise ConfigError(f"--from: {law}; drop one of the two options")


def _of(spec: ArchitectureSpec) -> list[ShippedExperiment]:
    """Return the shipped experiments with an architecture, those that are ready to train first."""
    return [each for each in _known() if each.architecture == spec.name]


def _known() -> list[ShippedExperiment]:
    return sorted(shipped_experiments().values(), key=_ready_first)


def _values_for(spec: ArchitectureSpec) -> Values:
    """Return settings for an architecture.

    The model comes from an experiment with the architecture, else from one that reads the same
    section; data and training from one on the built-in language with an objective that suits.
    """
    own, known = _of(spec), _known()
    alike = [each for each in known if ARCHITECTURES[each.architecture].section == spec.section]
    models = own or (alike if spec.section else [])
    ready = [each for each in (*models, *known) if each.is_on_the_language]
    suited = [each for each in ready if _suits(each.objective, spec)]
    first = [each for each in suited if each.objective in spec.objectives[:1]]
    trainings = [*first, *suited, *own]
    values = deepcopy(trainings[0].values) if trainings else _plain_values(spec)
    values["model"] = _model(spec, models[0] if models else None)
    return values


def _plain_values(spec: ArchitectureSpec) -> Values:
    """Return settings with the first objective that suits; they read text only if it does."""
    values = deepcopy(shipped_experiments()[PLAIN].values)
    suited = [name for name in OBJECTIVES if _suits(name, spec)]
    values["training"]["objective"] = next(iter(suited), MUST_BE_GIVEN)
    if not (suited and OBJECTIVES[suited[0]].reads_token_stream):
        values["data"]["train"] = MUST_BE_GIVEN
    return values


def _ready_first(experiment: ShippedExperiment) -> tuple[bool, bool, str]:
    """Return a key that sorts small experiments on the built-in language to the front."""
    small = experiment.name.startswith("tiny_")
    return not experiment.is_on_the_language, not small, experiment.name


def _suits(objective: str, spec: ArchitectureSpec) -> bool:
    """Return True if an objective trains an architecture without a head."""
    kind = OBJECTIVES[objective].model_kind
    return objective in spec.objectives or (kind != "language" and kind in spec.kinds)


def _model(spec: ArchitectureSpec, like: ShippedExperiment | None) -> Values:
    """Return the section `model`, with the settings of a shipped one that the architecture reads.

    Args:
        like: the shipped experiment; None: what is required has yet to be given.
    """
    values: Values = {"architecture": spec.name}
    if like is not None:
        given = like.values["model"]
        return values | {key: deepcopy(given[key]) for key in spec.sections() if key in given}
    if spec.section and spec.schema:
        values[spec.section] = _to_give(spec.schema)
    return values


def _to_give(schema: type[BaseModel]) -> Values:
    """Return the settings of a section that have no default, to be given later."""
    values: Values = {}
    for name, field in schema.model_fields.items():
        if field.is_required():
            below = field.annotation
            nested = isinstance(below, type) and issubclass(below, BaseModel)
            values[name] = _to_give(below) if nested else MUST_BE_GIVEN  # type: ignore[arg-type]
    return values


def _data(data: Values) -> Values:
    """Return the section `data` with the language, or with files that have yet to be given."""
    kept = {key: value for key, value in data.items() if key not in ("validation", "test")}
    return kept | {"train": _without_files(kept["train"])}


def _without_files(source: Any) -> Any:
    if isinstance(source, dict):
        is_language = "language" in source
        return source if is_language else {k: _without_files(v) for k, v in source.items()}
    return MUST_BE_GIVEN


def _run_name(stem: str) -> str:
    """Return the name of the experiment in a file of this name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:100] or "experiment"


def _header(file: Path, spec: ArchitectureSpec, origin: str | None) -> Iterator[str]:
    begun = f", begun from the shipped experiment {origin}" if origin else ""
    path = file.name if file.is_absolute() else str(file)  # other machines have other directories
    command = f"foundry train {shlex.quote(path)}"
    yield f"# An experiment with {spec.name}{begun}."
    yield f"#   {command}"
    yield f"#   {command} training.max_steps=100    with another setting"
    yield "# `foundry schema --format markdown` shows all settings."


def _notes(values: Values, spec: ArchitectureSpec) -> dict[str, list[str]]:
    """Return the comments that stand above settings in place of their meanings."""
    language = "language" in values["data"]["train"]
    description = DataConfig.model_fields["train"].description or ""
    notes = {
        "experiment_name": [],
        "data.train": [*OWN_TEXT] if language else textwrap.wrap(description, 90),
        "model.architecture": ["`foundry list architectures` shows all, with their settings."],
    }
    section = values["model"].get(spec.section or "", {})
    if spec.schema and MUST_BE_GIVEN in dict(flat(section)).values():
        others = [(k, f) for k, f in spec.schema.model_fields.items() if not f.is_required()]
        lines = [f"  {setting_line(name, field)}" for name, field in others]
        notes[f"model.{spec.section}"] = ["Further settings:", *lines] if lines else []
    return notes
