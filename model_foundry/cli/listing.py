"""`foundry list`: everything that an experiment can name, with its settings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

import model_foundry
from model_foundry.config import (
    ARCHITECTURES,
    HEADS,
    INTERVENTIONS,
    LOSSES,
    METRICS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
    TRACKERS,
    TRANSFORMS,
    ArchitectureSpec,
    ExperimentConfig,
    HeadSpec,
    MetricSpec,
    ObjectiveSpec,
    SourceSpec,
    TokenizerConfig,
    TrackerSpec,
    TransformSpec,
)
from model_foundry.config.fields import fields_below
from model_foundry.config.setting_lines import setting_line
from model_foundry.config.shipped_experiments import shipped_experiments
from model_foundry.config.unused_settings import OF_ONE_TOKENIZER
from model_foundry.errors import ConfigError
from model_foundry.interventions import describe
from model_foundry.registry import Registry, load_target, nearest

WIDTH = 80
READERS = {
    "left_to_right": "that read from left to right",
    "both": "that read in both directions",
    "any": "of any direction",
}
REGISTRIES: Final[dict[str, Registry[Any]]] = {
    "architectures": ARCHITECTURES,
    "heads": HEADS,
    "objectives": OBJECTIVES,
    "losses": LOSSES,
    "metrics": METRICS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "sources": SOURCES,
    "transforms": TRANSFORMS,
    "trackers": TRACKERS,
}
LISTS = (*REGISTRIES, "tokenizers", "interventions", "configs")


def overview() -> Iterator[str]:
    """Yield for each kind the command that lists it, and the names."""
    for kind in LISTS:
        head = f"foundry list {kind:13}  "
        yield from textwrap.wrap(
            ", ".join(names_of(kind)) or "none yet",
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
        )


def names_of(kind: str) -> list[str]:
    """Return the names of a kind that is one of `LISTS`."""
    if kind == "tokenizers":
        return list(get_args(TokenizerConfig.model_fields["tokenizer_type"].annotation))
    if kind == "configs":
        return list(shipped_experiments())
    return list(INTERVENTIONS if kind == "interventions" else REGISTRIES[kind])


def listing(kind: str) -> Iterator[str]:
    """Yield for each name of a kind a line about it, and lines about its settings.

    Raises:
        ConfigError: `kind` is none of `LISTS`.
    """
    if kind not in LISTS:
        close = nearest(kind, list(LISTS))
        hint = f"; did you mean {close!r}?" if close else ""
        raise ConfigError(f"list: must be one of {', '.join(LISTS)}, got {kind!r}{hint}")
    shown: dict[type[BaseModel], str] = {}
    for name in names_of(kind):
        for line in _entry(kind, name, shown):
            yield from textwrap.wrap(line, WIDTH, subsequent_indent="    ")


def _entry(kind: str, name: str, shown: dict[type[BaseModel], str]) -> Iterator[str]:
    """Yield the lines of an entry; the sections that it shares with one in `shown` are named."""
    if kind == "interventions":
        yield from f"{name}: {describe(name)}".splitlines()
    elif kind == "configs":
        yield f"{name}: {shipped_experiments()[name].about}"
    elif kind == "tokenizers":
        yield f"{name}: {_summary(f'model_foundry.tokenizer.{name}')}"
        yield from _settings(f"tokenizer.{field}" for field in OF_ONE_TOKENIZER.get(name, ()))
    else:
        spec = REGISTRIES[kind][name]
        yield f"{name}: {_summary(spec.target)}"
        yield from (f"  {fact}" for fact in _facts(spec))
        given = getattr(spec, "settings", ())
        yield from _settings(field if "." in field else f"training.{field}" for field in given)
        for place, schema in _sections(spec):
            yield from _section(place, schema, shown)
            shown.setdefault(schema, name)


def _summary(target: str) -> str:
    """Return the first paragraph of the docstring of a target; of a function, what it returns."""
    docstring = _docstring_in_source(target) or inspect.getdoc(load_target(target)) or ""
    text = re.split(r"\n\s*\n", docstring)[0].replace("\n", " ").removeprefix("Return ")
    return text[:1].upper() + text[1:]


def _docstring_in_source(target: str) -> str | None:
    """Return a docstring of this package without importing it, and torch with it."""
    module, _, attribute = target.partition(":")
    file = Path(model_foundry.__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    if module.partition(".")[0] != model_foundry.__name__ or not file.is_file():
        return None
    tree: Any = ast.parse(file.read_text(encoding="utf-8"))
    named = [node for node in tree.body if getattr(node, "name", None) == attribute]
    return next(map(ast.get_docstring, named if attribute else [tree]), None)


def _settings(names: Iterable[str]) -> Iterator[str]:
    """Yield a line for each of these settings of an experiment."""
    fields = dict(fields_below(ExperimentConfig))
    return (f"  {setting_line(name, fields[name])}" for name in names if name in fields)


def _section(
    place: str, schema: type[BaseModel], shown: Mapping[type[BaseModel], str]
) -> Iterator[str]:
    if schema in shown:
        yield f"  {place}: as for {shown[schema]}"
        return
    for name, field in fields_below(schema, f"{place}."):
        yield f"  {setting_line(name, field)}"


def _sections(spec: Any) -> list[tuple[str, type[BaseModel]]]:
    """Return the sections of a registered thing, with their places in an experiment."""
    if isinstance(spec, ArchitectureSpec):
        return [(f"model.{name}", schema) for name, schema in spec.sections().items()]
    schema = getattr(spec, "schema", None)
    if schema is None:
        return []
    if isinstance(spec, TransformSpec):
        return [(f"training.transforms.{spec.name}", schema)]
    if isinstance(spec, TrackerSpec):
        return [(f"tracking.{spec.name}", schema)]
    if not isinstance(spec, SourceSpec):
        return [(f"training.{spec.name}", schema)]
    beside = spec.name in schema.model_fields  # its name is one of its settings
    return [("data.train" if beside else f"data.train.{spec.name}", schema)]


def _facts(spec: Any) -> Iterator[str]:
    if isinstance(spec, ArchitectureSpec):
        of_kinds = [f"those for {kind} models" for kind in spec.other_kinds]
        own = spec.objectives or (f"those for {spec.kind} models",)
        yield f"objectives: {', '.join((*own, *of_kinds))}"
        if spec.trained_by == "counting":
            yield "training: by counting over one pass"
    elif isinstance(spec, HeadSpec):
        yield f"architectures: those of kind {spec.of}"
    elif isinstance(spec, ObjectiveSpec):
        reading = f" {READERS[spec.direction]}" if spec.model_kind == "language" else ""
        yield f"models: {spec.model_kind} models{reading}"
        yield f"losses: {', '.join(f'{name} {weight:g}' for name, weight in spec.losses.items())}"
        yield f"metrics: {', '.join(spec.metrics)}"
    elif isinstance(spec, TransformSpec):
        yield f"batches: {'training and evaluation' if spec.on == 'both' else spec.on}"
    elif isinstance(spec, TrackerSpec):
        yield f"keeps: {', '.join(('figures', *spec.takes))}"
        yield f"needs: {spec.requirement or 'nothing'}"
    elif isinstance(spec, MetricSpec):
        yield f"better: {'higher' if spec.greater_is_better else 'lower'} values"
