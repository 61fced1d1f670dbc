"""The decorator that registers an architecture."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.config import (
    ARCHITECTURES,
    ArchitectureSpec,
    BERTSpecificConfig,
    RNNModelConfig,
    TransformerModelConfig,
)
from model_foundry.registry import DuplicateNameError

BUILT_IN_SECTIONS: dict[str, type[BaseModel]] = {
    "transformer": TransformerModelConfig,
    "bert": BERTSpecificConfig,
    "rnn": RNNModelConfig,
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
C = TypeVar("C", bound=type)


def register_architecture(
    name: str,
    section: str | None = None,
    objectives: tuple[str, ...] = ("causal_lm",),
    *,
    schema: type[BaseModel] | None = None,
    is_causal: bool | Callable[[Any], bool] = True,
    optional_sections: dict[str, type[BaseModel]] | None = None,
    ties_embedding_size: bool = False,
    settings: tuple[str, ...] = (),
    isolates_documents: bool = False,
    gains_from_compile: bool = False,
) -> Callable[[C], C]:
    """Return a class decorator that registers an architecture under `name`, as `ArchitectureSpec`.

    The class is returned unchanged. The built-in classes give only their name: their specs must be
    known without importing torch.

    Args:
        schema: pydantic class of the section; optional for `transformer`, `bert` and `rnn`.

    Raises:
        TypeError: the class is no `BaseLanguageModel`, or section and schema do not fit together.
        DuplicateNameError: the name is taken.
    """
    _check_names(name, objectives)
    resolved = _section_schema(name, section, schema)

    def register(cls: C) -> C:
        _check_class(name, cls)
        spec = ArchitectureSpec(
            name=name,
            target=f"{cls.__module__}:{cls.__qualname__}",
            section=section,
            schema=resolved,
            optional_sections=optional_sections or {},
            objectives=objectives,
            is_causal=is_causal,
            ties_embedding_size=ties_embedding_size,
            settings=settings,
            isolates_documents=isolates_documents,
            gains_from_compile=gains_from_compile,
        )
        _add(spec, cls)
        return cls

    return register


def _check_names(name: str, objectives: tuple[str, ...]) -> None:
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise TypeError(f"an architecture's name has letters, digits, '.', '_', '-'; got {name!r}.")
    if isinstance(objectives, str) or not objectives:
        raise TypeError(f"Architecture {name!r}: objectives= is a tuple, got {objectives!r}.")


def _check_class(name: str, cls: type) -> None:
    if not (isinstance(cls, type) and issubclass(cls, BaseLanguageModel)):
        raise TypeError(
            f"{getattr(cls, '__name__', cls)!r} cannot be registered as architecture {name!r}: "
            "it must be a subclass of BaseLanguageModel."
        )
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise TypeError(
            f"{cls.__name__} cannot be architecture {name!r}: it does not "
            f"define {', '.join(missing)}."
        )


def _section_schema(
    name: str, section: str | None, schema: type[BaseModel] | None
) -> type[BaseModel] | None:
    """Return the class of a section; refuse an ambiguous pair."""
    if section is None:
        if schema is not None:
            raise TypeError(f"Architecture {name!r}: schema= needs section=, the key it describes.")
        return None
    if schema is not None and not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise TypeError(f"Architecture {name!r}: schema= is a pydantic class, got {schema!r}.")
    built_in = BUILT_IN_SECTIONS.get(section)
    if built_in is None and schema is None:
        known = ", ".join(BUILT_IN_SECTIONS)
        raise TypeError(
            f"Architecture {name!r}: section {section!r} is none of {known}, so it needs schema=, "
            "its pydantic class."
        )
    if section == "architecture" or (built_in and schema not in (None, built_in)):
        raise TypeError(f"Architecture {name!r}: section {section!r} is taken; name it otherwise.")
    return schema or built_in


def _add(spec: ArchitectureSpec, cls: type) -> None:
    """Add an architecture; of a built-in one, attach the class to its spec."""
    try:
        ARCHITECTURES.add(spec, cls)
    except DuplicateNameError:
        present = ARCHITECTURES[spec.name]
        only_named = spec == ArchitectureSpec(name=spec.name, target=spec.target)
        if not only_named or present.target != spec.target:
            raise
        ARCHITECTURES.add(present, cls)
