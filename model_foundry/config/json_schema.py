"""A JSON schema of experiment files, by which editors complete, explain and check them.

It is of draft 7, the newest one that yaml-language-server reads in all its versions. It holds the
names, types, bounds and choices of all settings; the laws between settings are checked on loading.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import CoreSchema

from model_foundry.config.built_in import (
    ARCHITECTURES,
    INTERVENTIONS,
    LOSSES,
    METRICS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
)
from model_foundry.config.data import InterventionStep, MixturePart, MixtureSource, PluginSource
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.fields import sections_below
from model_foundry.config.plain_schema import (
    EXPRESSION_SCHEMA,
    EXPRESSIONS,
    Schema,
    in_order,
    plain,
    with_expressions,
)
from model_foundry.config.registered_sections import OpenSection
from model_foundry.config.sections import SPECIAL_TOKEN_ROLES, TokenizerConfig
from model_foundry.config.transforms import TRANSFORMS, NamedFunction, class_of_settings
from model_foundry.registry import Registry

DRAFT = "http://json-schema.org/draft-07/schema#"
SCHEMA_TITLE: Final = "Experiment of Model Foundry"
SENTENCE = re.compile(r".*?(?<! al)\.(?= [A-Z]|$)")
SOURCE = "source"
"""Name of the definition of what `data.train` can be."""
TRANSFORM_PLACE = "training.transforms"

NAMED_IN: Final[dict[str, Registry[Any]]] = {
    "model.architecture": ARCHITECTURES,
    "training.objective": OBJECTIVES,
    "training.optimizer": OPTIMIZERS,
    "training.lr_scheduler_type": SCHEDULES,
    "training.metric_for_best_model": METRICS,
    "training.metrics": METRICS,
    "training.train_metrics": METRICS,
    "training.losses": LOSSES,
    "data.interventions.step": INTERVENTIONS,
}
"""Settings that hold a registered name, a list of them, or a mapping by them."""
EXTENDS: Final[Schema] = {
    "type": ["string", "array"],
    "items": {"type": "string"},
    "description": "Files that this one extends: one, or a list in which later ones win.",
}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, which accepts anything for a type of a plugin that it does not know."""

    ignored_warning_kinds = GenerateJsonSchema.ignored_warning_kinds | {"non-serializable-default"}

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> Any:
        return {}


def experiment_schema() -> Schema:
    """Return the JSON schema of an experiment file, or of a part of one, as groups are.

    What is registered when it is called is in it: load plugins before.
    """
    names = section_names()
    definitions = _definitions(names)
    for place, registry in NAMED_IN.items():
        section, _, field = place.rpartition(".")
        properties = definitions[section]["properties"]
        properties[field] = _of_names(properties[field], sorted(registry))
    _describe_sources(definitions, names)
    _describe_lists(definitions, names)
    root = definitions.pop("")
    root["properties"] = {"extends": EXTENDS, **root["properties"]}
    definitions = {name: with_expressions(definitions[name]) for name in sorted(definitions)}
    definitions[EXPRESSIONS] = EXPRESSION_SCHEMA
    about = {"$schema": DRAFT, "title": SCHEMA_TITLE}
    whole: Schema = in_order({**about, **with_expressions(root), "$defs": definitions})
    return whole


def section_names() -> dict[type[BaseModel], str]:
    """Return each section's class with its name, the first dotted place at which it stands.

    Classes that share a place, as sources do, have their own name behind it.
    """
    places: dict[str, list[type[BaseModel]]] = {"": [ExperimentConfig]}
    for place, section in (*sections_below(ExperimentConfig), *_in_lists()):
        if section is not PluginSource:
            found = places.setdefault(place, [])
            found.extend([section] if section not in found else [])
    names: dict[type[BaseModel], str] = {}
    for place, sections in places.items():
        for section in sections:
            alone = len(sections) == 1
            names.setdefault(section, place if alone else f"{place}.{section.__name__}")
    return names


def _in_lists() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (place, class) of the sections of registered sources and transforms."""
    for name in SOURCES:
        spec = SOURCES[name]
        if spec.schema is not None and spec.name not in spec.schema.model_fields:
            yield f"data.train.{name}", spec.schema
    for name in TRANSFORMS:
        yield f"{TRANSFORM_PLACE}.{name}", class_of_settings(name)
    yield f"{TRANSFORM_PLACE}.function", NamedFunction


def _definitions(names: dict[type[BaseModel], str]) -> dict[str, Schema]:
    """Return the plain schema of each section, by its name; that of an experiment is ''."""
    keys, generated = models_json_schema(
        [(section, "validation") for section in names], schema_generator=_Generator
    )
    own: dict[str, JsonSchemaValue] = generated["$defs"]
    of_key = {keys[section, "validation"]["$ref"]: name for section, name in names.items()}
    definitions = {}
    for section, name in names.items():
        schema = plain(own[keys[section, "validation"]["$ref"].rpartition("/")[2]])
        schema.setdefault("properties", {})
        schema.setdefault("additionalProperties", False)
        definitions[name] = _renamed(schema, of_key)
        if issubclass(section, OpenSection):
            for key, below in section.registered_sections().items():
                about = {"description": first_sentence(below.__doc__ or "")}
                definitions[name]["properties"][key] = about | _reference(names[below])
            definitions[name]["additionalProperties"] = False
    return definitions


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    """Return a schema whose references have other names."""
    if isinstance(schema, list):
        return [_renamed(part, names) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$ref") in names:
        schema = {**schema, **_reference(names[schema["$ref"]])}
    return {key: _renamed(value, names) for key, value in schema.items()}


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring, on one line."""
    found = SENTENCE.match(" ".join(text.split()))
    return found[0] if found else text


def _reference(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _of_names(schema: Schema, names: list[str]) -> Schema:
    """Return the schema of a setting that holds a name: these are offered, others allowed."""
    if schema.get("type") == "array":
        return {**schema, "items": _of_names(schema["items"], names)}
    if schema.get("type") == "object":
        return {**schema, "properties": dict.fromkeys(names, schema["additionalProperties"])}
    about = {key: value for key, value in schema.items() if key != "type"}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**about, "anyOf": [{"enum": names}, *({"type": each} for each in types)]}


def _describe_sources(definitions: dict[str, Schema], names: dict[type[BaseModel], str]) -> None:
    """Define a source once, with those of plugins, and refer to it."""
    kinds: list[Schema] = [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    ]
    for name in SOURCES:
        schema = SOURCES[name].schema
        if name != "files" and schema is not None and name in schema.model_fields:
            kinds.append(_reference(names[schema]))
        elif name != "files":
            nothing = {"type": "object", "maxProperties": 0}
            kinds.append(_one_key(name, _reference(names[schema]) if schema else nothing))
    definitions[SOURCE] = {"anyOf": kinds}
    mixture = _reference(names[MixtureSource])
    for field in ("train", "validation", "test"):
        properties = definitions["data"]["properties"]
        also = [mixture] if field == "train" else [mixture, {"type": "null"}]
        about = {key: properties[field][key] for key in ("description",)}
        properties[field] = {**about, "anyOf": [_reference(SOURCE), *also]}
    part = definitions[names[MixturePart]]["properties"]
    part["source"] = {"description": part["source"]["description"], **_reference(SOURCE)}


def _describe_lists(definitions: dict[str, Schema], names: dict[type[BaseModel], str]) -> None:
    """Describe the entries of lists, whose form depends on a name in them."""
    step, steps = names[InterventionStep], definitions["data"]["properties"]["interventions"]
    by_name = definitions[step]["properties"]["step"]["anyOf"]
    steps["items"] = {"anyOf": [*by_name, _reference(step)]}
    below = {name: _reference(names[class_of_settings(name)]) for name in TRANSFORMS}
    renamed = {"type": "object", "additionalProperties": {"type": "string"}}
    kinds = [_one_key(name, schema) for name, schema in {**below, "rename": renamed}.items()]
    transforms = definitions["training"]["properties"]["transforms"]
    transforms["items"] = {"anyOf": [*kinds, _reference(names[NamedFunction])]}
    tokens = definitions[names[TokenizerConfig]]["properties"]["special_tokens"]
    tokens["properties"] = dict.fromkeys(SPECIAL_TOKEN_ROLES, tokens["additionalProperties"])
    tokens["additionalProperties"] = False


def _one_key(name: str, below: Schema) -> Schema:
    return {"type": "object", "properties": {name: below}, "additionalProperties": False}
