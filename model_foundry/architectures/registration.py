"""The decorator that registers an architecture."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel as Schema

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import BaseModel, CountedModel
from model_foundry.architectures.saving.native_format import LANGUAGE
from model_foundry.config import ARCHITECTURES, HEADS, ArchitectureSpec, HeadSpec
from model_foundry.registry import register_in

OURS = f"{__name__.partition('.')[0]}."
BUILT_IN_SECTIONS: dict[str, type[Schema]] = {
    name: schema
    for spec in ARCHITECTURES.known()
    if spec.target.startswith(OURS)
    for name, schema in spec.sections().items()
}
C = TypeVar("C", bound=type)


def register_architecture(
    name: str,
    section: str | None = None,
    objectives: tuple[str, ...] = ("causal_lm",),
    *,
    kind: str = LANGUAGE,
    trained_by: Literal["gradient", "counting"] = "gradient",
    schema: type[Schema] | None = None,
    is_causal: bool | Callable[[Any], bool | None] = True,
    optional_sections: dict[str, type[Schema]] | None = None,
    ties_embedding_size: bool = False,
    settings: tuple[str, ...] = (),
    isolates_documents: bool = False,
    gains_from_compile: bool = False,
) -> Callable[[C], C]:
    """Return a class decorator that registers an architecture under `name`, as `ArchitectureSpec`.

    The class is returned unchanged. The built-in classes give only their name and kind: their specs
    must be known without importing torch.

    Args:
        objectives: empty: all that train models of this kind, which is not `language`.
        kind: `language` exactly for a `BaseLanguageModel`.
        trained_by: `counting` exactly for a `CountedModel`.
        schema: pydantic class of the section; optional for a built-in one.

    Raises:
        TypeError: the class is not of that kind, or section and schema do not fit together.
        DuplicateNameError: the name is taken.
    """
    _check_objectives(name, objectives, kind)
    facts = {
        "kind": kind,
        "trained_by": trained_by,
        "section": section,
        "schema": _section_schema(name, section, schema),
        "optional_sections": optional_sections or {},
        "objectives": objectives,
        "is_causal": is_causal,
        "ties_embedding_size": ties_embedding_size,
        "settings": settings,
        "isolates_documents": isolates_documents,
        "gains_from_compile": gains_from_compile,
    }
    return _registering(name, facts)


def register_head(kind: str, *, of: str = LANGUAGE) -> Callable[[C], C]:
    """Return a class decorator that registers a head: models of a kind made of others' bodies.

    Its `from_config` gets the arguments of the objective, and makes the body with those of the
    architecture: `native_format.class_of(config.model.architecture, of).from_config(...)`.

    Args:
        kind: the kind of model that it makes, an objective's `model_kind`.
        of: the kind of architecture whose body it takes.

    Raises:
        DuplicateNameError: there is a head of that kind.
        TypeError: the class is no complete `BaseModel`, or both kinds are the same.
    """
    if kind == of:
        raise TypeError(f"Head {kind!r}: of= is the kind of another model, got {of!r}.")
    return register_in(HEADS, HeadSpec, kind, base=BaseModel, of=of)


def _registering(name: str, facts: dict[str, Any]) -> Callable[[C], C]:
    """Return the decorator that registers a class with these facts of its spec."""
    base = BaseLanguageModel if facts["kind"] == LANGUAGE else BaseModel
    add = register_in(ARCHITECTURES, _spec_of, name, base=base, **facts)

    def register(cls: C) -> C:
        if isinstance(cls, type) and issubclass(cls, base):
            _check_agreement(name, cls, facts["kind"], facts["trained_by"])
        return add(cls)

    return register


def _check_objectives(name: str, objectives: tuple[str, ...], kind: str) -> None:
    if isinstance(objectives, str) or not (objectives or kind != LANGUAGE):
        raise TypeError(f"Architecture {name!r}: objectives= is a tuple, got {objectives!r}.")


def _check_agreement(name: str, cls: type[BaseModel], kind: str, trained_by: str) -> None:
    """Refuse a class that is not of the kind under which it is registered."""
    if kind != LANGUAGE and issubclass(cls, BaseLanguageModel):
        raise TypeError(
            f"{cls.__name__} cannot be architecture {name!r} of kind {kind!r}: it is a "
            f"BaseLanguageModel, whose kind is {LANGUAGE!r}"
        )
    if (trained_by == "counting") != issubclass(cls, CountedModel):
        kinship = "a" if issubclass(cls, CountedModel) else "no"
        raise TypeError(
            f"{cls.__name__} cannot be architecture {name!r} with trained_by={trained_by!r}: it is "
            f"{kinship} CountedModel"
        )


def _section_schema(
    name: str, section: str | None, schema: type[Schema] | None
) -> type[Schema] | None:
    """Return the class of a section; refuse an ambiguous pair."""
    if section is None:
        if schema is not None:
            raise TypeError(f"Architecture {name!r}: schema= needs section=, the key it describes.")
        return None
    if schema is not None and not (isinstance(schema, type) and issubclass(schema, Schema)):
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


def _spec_of(name: str, target: str, **facts: Any) -> ArchitectureSpec:
    """Return the spec of a class; of a built-in one with only its name and kind, the known one."""
    spec = ArchitectureSpec(name=name, target=target, **facts)
    only_named = spec == ArchitectureSpec(name=name, target=target, kind=spec.kind)
    # a name of others could be that of the entry point which is being loaded
    known = ARCHITECTURES.get(name) if only_named and target.startswith(OURS) else None
    return known if known and known.target == target else spec
