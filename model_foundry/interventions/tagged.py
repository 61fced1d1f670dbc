"""Steps on the sentences of a document that match a pattern of tags and lemmas (extra `spacy`).

Each sentence of `sentence_splitter` is analysed alone, so matches in one never depend on others.
A pipeline is a directory, an installed package or `blank:` and a language; nothing is downloaded.
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
from model_foundry.interventions.selection import Marked, Selection
from model_foundry.interventions.sentence_splitter import sentences

BLANK = re.compile(r"blank:[a-z]{2,3}")
PACKAGES = "spacy_models"  # entry-point group in which packages announce their pipelines
Finder = Callable[[Any], list[Any]]  # from an analysed sentence to its matches
TokenPattern = Annotated[list[dict[str, Any]], Field(min_length=1, description="list of mappings")]


def _check_pipeline(settings: Any) -> None:
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
    """Return the entry point of an installed pipeline; None: no package has it.

    spaCy itself would import any package by name, and an experiment file must not name imports.
    """
    return next(iter(metadata.entry_points(group=PACKAGES, name=name)), None)


def _digest(directory: Path) -> str:
    """Return a hash of the names and contents of all files below a directory."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(directory).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def _version(name: str) -> str:
    """Return an identifier of a pipeline and its version."""
    if BLANK.fullmatch(name):
        return name
    if _is_directory(name):
        return _digest(Path(name))
    package = _package(name)
    assert package is not None and package.dist is not None, f"{name} is no pipeline"
    return f"{package.dist.name} {package.dist.version}"


@cache
def _pipeline(name: str) -> tuple[Any, str]:
    """Load a pipeline, once per process; return it and its version."""
    import spacy  # an extra; importing it takes a second

    try:
        version = _version(name)
        if BLANK.fullmatch(name):
            return spacy.blank(name.removeprefix("blank:")), version
        return spacy.load(Path(name) if _is_directory(name) else name), version
    except Exception as error:  # loading runs code of the pipeline's components
        rule = f"must be a pipeline that can be loaded, and {printable(name)!r} cannot"
        raise ValueError(f"pipeline: {rule}: {reason_of(error)}") from error


@cache
def _finder(pipeline: str, token_pattern: str) -> Finder:
    """Return the matcher of a token pattern, given as JSON."""
    from spacy.matcher import Matcher

    finder = Matcher(_pipeline(pipeline)[0].vocab, validate=True)
    try:
        finder.add("pattern", [json.loads(token_pattern)])
    except Exception as error:  # spaCy raises several types for invalid patterns
        raise ValueError(
            f"token_pattern: must be a pattern of spaCy's Matcher: {reason_of(error)}"
        ) from error
    find: Finder = finder
    return find


@lru_cache(maxsize=4)  # a step surveys, changes and counts the same text
def _matching(text: str, pipeline: str, token_pattern: str) -> tuple[bool, ...]:
    find = _finder(pipeline, token_pattern)
    analysed = _pipeline(pipeline)[0].pipe(sentence.strip() for sentence in sentences(text))
    return tuple(bool(find(sentence)) for sentence in analysed)


def _marked(text: str, *, pipeline: str, token_pattern: list[dict[str, Any]]) -> Marked:
    pattern = json.dumps(token_pattern, sort_keys=True)
    return sentences(text), _matching(text, pipeline, pattern)


def _cache_key(settings: Any) -> dict[str, str]:
    """Return the versions of spaCy and of the pipeline; check the pattern."""
    _finder(settings.pipeline, json.dumps(settings.token_pattern, sort_keys=True))
    return {"spaCy": metadata.version("spacy"), "pipeline": _pipeline(settings.pipeline)[1]}


_DROP, _KEEP = Selection(marked=_marked, keep=False), Selection(marked=_marked, keep=True)


@register_intervention(
    "drop_tagged_sentences",
    check=_check_pipeline,
    **_DROP.functions(),
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
    """Drop the sentences that match a spaCy `Matcher` pattern, or, as `control`, as many others.

    The pattern has a mapping for each token, such as `[{LEMMA: be}, {TAG: VBN}]`. For the control
    see `drop_sentences`.
    """
    settings = {"pipeline": pipeline, "token_pattern": token_pattern}
    return _DROP.remaining(text, planned=planned, seed=seed, index=index, **settings)


@register_intervention(
    "keep_tagged_sentences",
    check=_check_pipeline,
    **_KEEP.functions(),
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
    """Keep the sentences that match a spaCy `Matcher` pattern, or, as `control`, as many others.

    The pattern is that of `drop_tagged_sentences`; for the control see `keep_sentences`.
    """
    settings = {"pipeline": pipeline, "token_pattern": token_pattern}
    return _KEEP.remaining(text, planned=planned, seed=seed, index=index, **settings)
