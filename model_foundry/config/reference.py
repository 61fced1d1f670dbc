"""The reference of all settings: a page of Markdown, and a line for each setting."""

import re
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from model_foundry.config.built_in import ARCHITECTURES, OBJECTIVES, OPTIMIZERS, SCHEDULES
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.fields import fields_below, fields_of
from model_foundry.config.json_schema import SOURCE, experiment_schema, section_names
from model_foundry.config.plain_schema import Schema
from model_foundry.config.schema_words import kind_in_words, value_in_yaml
from model_foundry.config.setting_lines import kind_of, setting_line
from model_foundry.registry import Registry

TITLE: Final = """# Settings

Each setting of an experiment file. This page is made from the code by `make reference`;
`foundry schema --format markdown --plugin FILE.py` writes one with the settings of a plugin too,
and `foundry schema` the [JSON schema](../configs/schema.json) by which an editor completes and
checks the same. What can be named, `foundry list` describes.

On the command line the name of the section comes before that of a setting, as in
`training.max_steps=100`.
"""
COLUMNS = "| setting | value | default | meaning |\n|---|---|---|---|"
READERS: Final[tuple[Registry[Any], ...]] = (ARCHITECTURES, OBJECTIVES, OPTIMIZERS, SCHEDULES)
"""What may be the only reader of a setting of `training`."""


def setting_lines() -> list[str]:
    """Return a line with name, type and default for each setting, sorted by name."""
    fields = list(fields_below(ExperimentConfig))
    sections = {name.rpartition(".")[0] for name, _ in fields}
    kinds = {name: kind_of(field.annotation) for name, field in fields}
    named = [(n, f) for n, f in fields if not (n in sections and kinds[n] == "mapping")]
    return sorted({setting_line(name, field) for name, field in named})


def markdown() -> str:
    """Return the page of all settings, with what is registered when it is called."""
    schema = experiment_schema()
    definitions = {"": schema, **schema["$defs"]}
    chapters = [
        _Chapter(section=section, name=name, schema=definitions[name])
        for section, name in section_names().items()
    ]
    chapters.sort(key=_Chapter.rank)
    links = {chapter.name: f"[{chapter.title}](#{_anchor(chapter.title)})" for chapter in chapters}
    links[SOURCE] = kind_in_words(definitions[SOURCE], links)
    contents = "\n".join(chapter.entry() for chapter in chapters)
    return "\n".join([TITLE, contents, "", *(chapter.text(links) for chapter in chapters)])


@dataclass(frozen=True, kw_only=True)
class _Chapter:
    """A section of an experiment: its description, and a table of its settings."""

    section: type[BaseModel]
    name: str
    """Name of its definition in the schema: its place, and among several there its class."""
    schema: Schema

    @property
    def title(self) -> str:
        """The place of the section in a file, with its kind where there are several."""
        place, _, last = self.name.rpartition(".")
        if last != self.section.__name__:
            return f"`{self.name}`" if self.name else "The file"
        return f"`{place}`: {last.removesuffix('Source').lower()}"

    def rank(self) -> tuple[int, bool, str]:
        """Return the place of the chapter in the page: that of its section in a file."""
        top = self.name.partition(".")[0]
        return ["", *ExperimentConfig.model_fields].index(top), "." in self.name, self.name

    def entry(self) -> str:
        """Return the line of the table of contents."""
        indent = "  " if "." in self.name else ""
        return f"{indent}- [{self.title}](#{_anchor(self.title)})"

    def text(self, links: dict[str, str]) -> str:
        """Return the chapter, given the links to those of the sections in it."""
        parts = [f"## {self.title}\n", f"{self.schema.get('description', '')}{self._readers()}\n"]
        for owner, names in self._parts().items():
            if owner is not self.section:
                parts.append(f"{' '.join((owner.__doc__ or '').split())}\n")
            rows = [self._row(name, links) for name in names]
            parts.append("\n".join([COLUMNS, *rows, ""]))
        return "\n".join(parts)

    def _parts(self) -> dict[type, list[str]]:
        """Return the names of its fields by the class that declares them, its own first."""
        parts: dict[type, list[str]] = {self.section: []}
        for name in fields_of(self.section):
            owners = [
                cls for cls in self.section.__mro__ if name in vars(cls).get("__annotations__", {})
            ]
            parts.setdefault(owners[0] if owners else self.section, []).append(name)
        return {owner: names for owner, names in parts.items() if names}

    def _readers(self) -> str:
        place, _, key = self.name.rpartition(".")
        readers = [spec.name for spec in ARCHITECTURES.known() if key in spec.sections()]
        if place != "model" or not readers:
            return ""
        return f" Architectures: {_listed(readers)}."

    def _row(self, name: str, links: dict[str, str]) -> str:
        schema, field = self.schema["properties"].get(name, {}), fields_of(self.section)[name]
        kind = kind_in_words(schema, links)
        if type(None) not in get_args(field.annotation):  # null only takes it out of another file
            kind = kind.removesuffix(", `null`")
        meaning = schema.get("description") or field.description or ""
        if self.name == "training" and (only := _readers_of(name)):
            meaning = f"{meaning} Read by {_listed(only)} only."
        registered = name not in self.section.model_fields
        default = "" if registered else _default(field)
        return f"| {' | '.join(map(_cell, (f'`{name}`', kind, default, meaning)))} |"


def _cell(text: str) -> str:
    """Return text of a table, none of which is taken for HTML or for the end of a column."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def _readers_of(name: str) -> list[str]:
    """Return what reads a setting of `training` that only some read; empty: all do."""
    known = [registry.known() for registry in READERS]
    readers = [[spec.name for spec in specs if name in spec.settings] for specs in known]
    return [
        reader
        for specs, some in zip(known, readers, strict=True)
        for reader in some
        if len(some) < len(specs)
    ]


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _default(field: FieldInfo) -> str:
    """Return the default in YAML; '' where the meaning says what holds when it is left out."""
    if field.is_required():
        return "required"
    if field.default_factory_takes_validated_data:
        return ""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return ""
    return f"`{value_in_yaml(to_jsonable_python(default))}`"


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
