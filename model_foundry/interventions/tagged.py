"""Steps on the sentences of a document that match a pattern of tags and lemmas (extra `spacy`).

Sentences are those of `sentence_splitter`, and each is analysed alone, so that matches in one never
depend on others. A pipeline is a directory, an installed package or `blank:` and a language;
nothing is downloaded.
"""

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from model_foundry.foundation.messages import printable, reason_of
from model_foundry.interventions.registration import register_intervention
from model_foundry.interventions.selection import Marked, Selection, is_control, plan_control
from model_foundry.interventions.sentence_splitter import sentences

BLANK = re.compile(r"blank:[a-z]{2,3}")
PACKAGES = "spacy_models"  # entry-point group in which packages announce their pipelines
Finder = Callable[[Any], list[Any]]  # from an analysed sentence to its matches
TokenPattern = Annotated[list[dict[str, Any]], Field(min_length=1, description="list of mappings")]


def _pipeline_is_there(settings: Any) -> None:
    if util.find_spec("spacy") is None:
        raise ValueError("pipeline: needs spaCy; pip install 'model-foundry[spacy]'")
    name = settings.pipeline
    if not (BLANK.fullmatch(name) or _is_directory(name) or _package(name)):
        raise ValueError(
            "pipeline: must be a directory with a config.cfg, an installed pipeline or 'blank:' "
            f"and a language code, got {printable(name)!r}"
        )


def _is_directory(name: str) -> bool:
    return (Path(name) / "config.cfg").is_file()


def _package(name: str) -> metadata.EntryPoint | None:
    """Return how an installed package announces a pipeline; None: no package does.

    spaCy itself would import any package by its name, and a file must not name what is imported.
    """
    return next(iter(metadata.entry_points(group=PACKAGES, name=name)), None)


def _digest(directory: Path) -> str:
    """Return a hash of the names and contents of all files below a directory."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(directory).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def _version(name: str) -> str:
    """Return what tells a pipeline from another, or from another version of it."""
    if BLANK.fullmatch(name):
        return name
    if _is_directory(name):
        return _digest(Path(name))
    package = _package(name)
    assert package is not None and package.dist is not None, f"{name} is no pipeline"
    return f"{package.dist.name} {package.dist.version}"


@cache
def _pipeline(name: str) -> tuple[Any, str]:
    """Load a pipeline, once a process; return it and its version as it was loaded."""
    import spacy  # the extra; and it takes a second

    try:
        version = _version(name)
        if BLANK.fullmatch(name):
            return spacy.blank(name.removeprefix("blank:")), version
        return spacy.load(Path(name) if _is_directory(name) else name), version
    except Exception as error:  # whatever the files of a pipeline bring about
        law = f"must be a pipeline that can be loaded, and {printable(name)!r} cannot"
        raise ValueError(f"pipeline: {law}: {reason_of(error)}") from error


@cache
def _finder(pipeline: str, token_pattern: str) -> Finder:
    """Return what finds a token pattern, given as JSON."""
    from spacy.matcher import Matcher

    finder = Matcher(_pipeline(pipeline)[0].vocab, validate=True)
    try:
        finder.add("pattern", [json.loads(token_pattern)])
    except Exception as error:  # spaCy has several for what a pattern can be
        raise ValueError(
            f"token_pattern: must be a pattern of spaCy's Matcher: {reason_of(error)}"
        ) from error
    find: Finder = finder
    return find


@lru_cache(maxsize=4)  # a step that surveys, changes and counts asks for the same text again
def _matching(text: str, pipeline: str, token_pattern: str) -> tuple[bool, ...]:
    find = _finder(pipeline, token_pattern)
    analysed = _pipeline(pipeline)[0].pipe(sentence.strip() for sentence in sentences(text))
    return tuple(bool(find(sentence)) for sentence in analysed)


def _marked(text: str, *, pipeline: str, token_pattern: list[dict[str, Any]]) -> Marked:
    pattern = json.dumps(token_pattern, sort_keys=True)
    return sentences(text), _matching(text, pipeline, pattern)


def _cache_key(settings: Any) -> dict[str, str]:
    """Return the versions of spaCy and of the pipeline, having read the pattern as well."""
    _finder(settings.pipeline, json.dumps(settings.token_pattern, sort_keys=True))
    return {"spaCy": metadata.version("spacy"), "pipeline": _pipeline(settings.pipeline)[1]}


_DROP, _KEEP = Selection(marked=_marked, keep=False), Selection(marked=_marked, keep=True)


@register_intervention(
    "drop_tagged_sentences",
    survey=_DROP.survey,
    plan=plan_control,
    surveyed=is_control,
    sentences=_DROP.number,
    check=_pipeline_is_there,
    cache_key=_cache_key,
)
def drop_tagged_sentences(
    text: str,
    *,
    seed: int,
    index: int,
    planned: int | None = None,
    pipeline: str,
    token_pattern: TokenPattern,
    control: bool = False,
) -> str | None:
    """Drop the sentences in which a pattern of spaCy's `Matcher` is found; as `control`, others.

    The pattern has a mapping for each token, such as `[{LEMMA: be}, {TAG: VBN}]`. For the control
    see `drop_sentences`.
    """
    how = {"pipeline": pipeline, "token_pattern": token_pattern}
    return _DROP.remaining(text, planned=planned, seed=seed, index=index, **how)


@register_intervention(
    "keep_tagged_sentences",
    survey=_KEEP.survey,
    plan=plan_control,
    surveyed=is_control,
    sentences=_KEEP.number,
    check=_pipeline_is_there,
    cache_key=_cache_key,
)
def keep_tagged_sentences(
    text: str,
    *,
    seed: int,
    index: int,
    planned: int | None = None,
    pipeline: str,
    token_pattern: TokenPattern,
    control: bool = False,
) -> str | None:
    """Keep the sentences in which a pattern of spaCy's `Matcher` is found; as `control`, others.

    The pattern is that of `drop_tagged_sentences`; for the control see `keep_sentences`.
    """
    how = {"pipeline": pipeline, "token_pattern": token_pattern}
    return _KEEP.remaining(text, planned=planned, seed=seed, index=index, **how)
