"""The data section: sources of text, interventions, and the cutting into rows."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from model_foundry.config.built_in import SOURCES
from model_foundry.config.on_resume import OnResume
from model_foundry.config.registered_sections import parsed_section
from model_foundry.config.sections import AnyPath, PathText, PositiveInt, Section, faults_error
from model_foundry.config.sources import SOURCE_KINDS, HubSource, NamedSource
from model_foundry.errors import ConfigError
from model_foundry.foundation.paths import written_path
from model_foundry.registry import nearest

MOST_PATHS = 5000  # in one list; the file that records a run is read with limits of its own
BUILT_IN = ("files", "hub", "disk", "images", "language", "mixture", "pairs")
IN_BRACES = ("language", "mixture", "disk", "images", "pairs", "hub")
BUDGETS = ("documents", "words", "tokens")
Split = Literal["train", "validation", "test"]
ALL: tuple[Split, ...] = ("train", "validation", "test")
DocumentKind = Literal["file", "line", "paragraph"]
Count = Annotated[int, Field(gt=0, lt=2**63)]


def _limited(paths: list[str]) -> list[str]:
    if len(paths) > MOST_PATHS:
        law = f"must have at most {MOST_PATHS} entries; name a folder or a glob"
        raise PydanticCustomError("too_many", law)
    return paths


class PluginSource(Section, extra="allow"):
    """A registered source of a plugin, `{name: settings}`."""

    @property
    def kind(self) -> str:
        """The registered name."""
        return next(iter(self.model_extra or {}))

    @property
    def settings(self) -> Any:
        """The settings, an instance of the registered schema; None: it has none."""
        return (self.model_extra or {})[self.kind]

    @model_validator(mode="after")
    def _settings_fit_the_schema(self) -> "PluginSource":
        extra = self.__pydantic_extra__ or {}
        name = next((name for name in extra if _is_registered(name)), None)
        if name is None:
            raise faults_error(*((key, _unknown_source(key)) for key in extra))
        if others := sorted(extra.keys() - {name}):
            law = f"does not stand beside {name!r}; its settings stand below that"
            raise faults_error(*((other, law) for other in others))
        extra[name] = _settings_of(name, extra[name])
        return self


def _settings_of(name: str, value: Any) -> BaseModel | None:
    schema, given = SOURCES[name].schema, {} if value is None else value
    if schema is None:
        if given == {}:
            return None
        raise faults_error((name, f"source {name!r} has no settings; write {{{name}: {{}}}}"))
    settings, faults = parsed_section(given, schema)
    if faults:
        raise faults_error(*((f"{name}.{field}".rstrip("."), text) for field, text in faults))
    return cast(BaseModel, settings)


def _is_registered(name: str) -> bool:
    return name not in BUILT_IN and name in SOURCES


def _unknown_source(name: str) -> str:
    names = sorted({*SOURCES, "mixture"} - {"files"})  # files are named by their paths
    close = nearest(name.lower(), names)
    plugin = "others come with --plugin FILE.py, in Python with load_plugin('FILE.py')"
    known = f"there are {', '.join(names)}; {plugin}"
    return f"unknown source; {f'did you mean {close!r}?' if close else known}"


def _names_a_source(value: dict[Any, Any]) -> bool:
    """Return True for a registered name, and for any other one with settings below it."""
    ((key, below), *others) = value.items() or [("hub", None)]
    return any(map(_is_registered, value)) or (
        not others and isinstance(below, dict) and key not in HubSource.model_fields
    )


def _source_kind(value: Any) -> str:
    if isinstance(value, list):
        return "paths"
    if isinstance(value, PluginSource):
        return "plugin"
    if isinstance(value, dict):
        built_in = next((kind for kind in IN_BRACES if kind in value), None)
        return built_in or ("plugin" if _names_a_source(value) else "hub")
    # each class of a source has a field with the name of its kind
    return next((kind for kind in SOURCE_KINDS if hasattr(value, kind)), "path")


_Path = Annotated[PathText, Tag("path")]
_Paths = Annotated[list[PathText], Field(min_length=1), AfterValidator(_limited), Tag("paths")]
_Plugin = Annotated[PluginSource, Tag("plugin")]
_Plain = _Path | _Paths | NamedSource | _Plugin
PlainSource = Annotated[
    _Plain,
    Discriminator(
        _source_kind,
        custom_error_type="nested_mixture",  # any other kind
        custom_error_message="a mixture cannot contain a mixture",
    ),
]


class _Budget(Section):
    """The amount of text to take; at most one unit is given."""

    documents: Count | None = None
    """Number of documents; None: all, or as limited by another unit."""
    words: Count | None = None
    """Number of words; None: see `documents`."""
    tokens: Count | None = None
    """Number of tokens, which needs `tokenizer.path`; None: see `documents`."""

    @property
    def budget(self) -> tuple[str, int] | None:
        """The (unit, amount) that is given; None: all there is."""
        given = [(unit, getattr(self, unit)) for unit in BUDGETS]
        return next(((unit, amount) for unit, amount in given if amount is not None), None)

    @model_validator(mode="after")
    def _one_unit(self) -> "_Budget":
        given = [unit for unit in BUDGETS if getattr(self, unit) is not None]
        if len(given) > 1:
            raise faults_error((given[1], f"only one unit can be given, and {given[0]} is"))
        return self


class MixturePart(_Budget):
    """One source of a mixture. A budget takes whole documents, drawn by seed, each once."""

    source: PlainSource
    """The source of its text."""
    weight: Annotated[float, Field(gt=0)] | None = None
    """Share of the mixture's budget, relative to the other weights and with `repeats` counted;
    None: the budget here, or all there is."""
    repeats: PositiveInt = 1
    """Times that training reads each document in one pass."""
    text_column: str | None = None
    """As in `data`; None: as there."""
    document: DocumentKind | None = None
    """As in `data`; None: as there."""

    @model_validator(mode="after")
    def _weight_or_budget(self) -> "MixturePart":
        if self.weight is not None and self.budget is not None:
            raise faults_error(("weight", f"and {self.budget[0]} exclude each other; drop one"))
        return self


class MixtureSource(_Budget):
    """Several sources, read together in a random order that keeps that of each."""

    mixture: Annotated[list[MixturePart], Field(min_length=1, max_length=100)]
    """The sources."""

    def budgets(self) -> list[tuple[str, int] | None]:
        """Return the (unit, amount) of each source; None: all there is."""
        if self.budget is None:
            return [part.budget for part in self.mixture]
        unit, total = self.budget
        weighted = [part.weight or 0.0 for part in self.mixture]
        largest = max(weighted)
        # relative to the largest, since the sum of the weights may be infinite
        weights = sum(weight / largest for weight in weighted)
        return [
            (unit, int(total * (weight / largest) / weights / part.repeats))
            for weight, part in zip(weighted, self.mixture, strict=True)
        ]

    @model_validator(mode="after")
    def _weights_share_a_budget(self) -> "MixtureSource":
        weighted = [part.weight is not None for part in self.mixture]
        if any(weighted) and self.budget is None:
            raise faults_error(
                ("mixture", "weights share a budget; give documents, words or tokens")
            )
        if self.budget is not None and not all(weighted):
            raise faults_error(
                (self.budget[0], "is shared by weight, but not every source has a weight")
            )
        return self


Source = Annotated[_Plain | Annotated[MixtureSource, Tag("mixture")], Discriminator(_source_kind)]


class InterventionStep(Section, extra="allow"):
    """One step of `data.interventions`; its other keys are its own settings."""

    step: str
    """A registered name; `foundry list interventions` shows them."""
    splits: Annotated[list[Split], Field(min_length=1)] = Field(default_factory=lambda: list(ALL))
    """Texts that it changes; left out: all."""

    @property
    def settings(self) -> dict[str, Any]:
        """The step's own settings."""
        return dict(self.model_extra or {})


def _as_step(value: Any) -> Any:
    return {"step": value} if isinstance(value, str) else value


class DataConfig(Section):
    """Text sources, splits, and the cutting into rows."""

    train: Annotated[Source, OnResume.BY_CONTENT]
    """A file, a glob, a folder, a list of these, {hub: ...}, {disk: ...}, {images: DIR},
    {mixture: [...]}, {pairs: {source: FILE, target: FILE}}, {language: {sentences: N}}, or
    {NAME: {...}} of a registered source."""
    validation: Annotated[Source | None, OnResume.BY_CONTENT] = None
    """Held-out text; None: `validation_fraction` of the training documents."""
    test: Annotated[Source | None, OnResume.FREE] = None
    """Text for one last measurement after training; None: no such measurement."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share held out: of the documents or records; of the characters of joined text under
    `split_by: position`."""
    validation_documents: PositiveInt | None = None
    """Number of documents held out, in place of the share; None: the share counts."""
    split_by: Literal["document", "position"] = "document"
    """Hold out documents drawn by seed, or the last part of the text or of the records."""
    shared_documents: Annotated[Literal["warn", "drop", "error"], OnResume.BY_CONTENT] = "warn"
    """Treatment of validation and test documents that also occur in the training text: they are
    counted in a warning, left out, or refused."""
    document: DocumentKind = "file"
    """Unit of one document in a text file; a paragraph ends at a blank line. The line ends and
    blank lines between documents belong to none."""
    text_column: str = "text"
    """Column that holds the text, for sources with columns."""
    encoding_errors: Annotated[Literal["strict", "replace"], OnResume.BY_CONTENT] = "strict"
    """Treatment of bytes that are not UTF-8: an error, or replaced by U+FFFD and counted."""
    interventions: Annotated[
        list[Annotated[InterventionStep, BeforeValidator(_as_step)]],
        Field(max_length=100),
        OnResume.BY_CONTENT,
    ] = Field(default_factory=list)
    """Changes to each document before it is tokenized, in this order."""
    packing: Literal["blocks", "documents", "streams"] = "blocks"
    """Cutting of rows: `blocks` of the joined documents in random order; `documents`: nothing sees
    across the end of a document; `streams`: each row continues where it ended one step before."""
    document_overlap: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Tokens that a row repeats as context where `packing: documents` cuts a long document."""
    max_sequence_length: Annotated[int, Field(ge=2, lt=2**31)] = 128
    """Tokens in one block, framing included."""
    content_tokens: PositiveInt | None = None
    """Tokens of text in one block, the same under every objective; None: what framing leaves."""
    preprocessing_num_workers: Annotated[
        Annotated[int, Field(ge=0, le=1024)] | None, OnResume.FREE
    ] = None
    """Processes that tokenize; 0: this one does; None: one for each core, 16 at most."""
    cache_dir: Annotated[AnyPath | None, OnResume.FREE] = None
    """Directory of trained tokenizers and token streams; None: $FOUNDRY_CACHE, else
    ~/.cache/model_foundry."""

    @property
    def counts_tokens(self) -> bool:
        """True if a budget is in tokens, which only a tokenizer can count."""
        sources = (self.train, self.validation, self.test)
        mixtures = [source for source in sources if isinstance(source, MixtureSource)]
        budgets = [each.budget for m in mixtures for each in (m, *m.mixture)]
        return any(budget is not None and budget[0] == "tokens" for budget in budgets)

    @property
    def cache(self) -> Path:
        """The cache directory in force."""
        path = self.cache_dir or os.environ.get("FOUNDRY_CACHE", "~/.cache/model_foundry")
        try:
            return Path(written_path(path))
        except RuntimeError as error:
            remedy = "set data.cache_dir or FOUNDRY_CACHE"
            raise ConfigError(f"data.cache_dir: {path} has no home directory; {remedy}") from error
