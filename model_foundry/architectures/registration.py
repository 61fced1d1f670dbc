"""How architectures join: the decorator, plugin files, and the way from a config to a model."""

import hashlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from torch import nn

from model_foundry.architectures import plain_directory
from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.fusing import fuse_activations
from model_foundry.architectures.model_registry import MODEL_REGISTRY
from model_foundry.architectures.modeling.functions_recurrent import WholeSequences
from model_foundry.architectures.plugin_faults import (
    LOADED_PLUGINS,
    place_of,
    require_complete,
    said_of,
    telling_of_plugins,
)
from model_foundry.architectures.products import multiply_by_onednn
from model_foundry.config import (
    ARCHITECTURES,
    ArchitectureSpec,
    BERTSpecificConfig,
    ExperimentConfig,
    RNNModelConfig,
    SpeedConfig,
    TransformerModelConfig,
)
from model_foundry.config.paths import written_path
from model_foundry.errors import ConfigError, DataError
from model_foundry.foreign import one_line
from model_foundry.registry import DuplicateNameError, Registry

BUILT_IN_SECTIONS: dict[str, type[BaseModel]] = {
    "transformer": TransformerModelConfig,
    "bert": BERTSpecificConfig,
    "rnn": RNNModelConfig,
}
logger = logging.getLogger(__name__)
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
    """Return a class decorator that makes an architecture known under `name`.

    The class comes back untouched. The classes behind the built-in names give only their name,
    since what else is known of them must be known without importing torch.

    Args:
        name: value of `model.architecture`.
        section: key of its section below `model`; None: it needs none.
        objectives: objectives it can be trained with.
        schema: pydantic class of the section; may be left out for `transformer`, `bert` and `rnn`.
        is_causal: whether position t sees only positions up to t; a function decides by section.
        optional_sections: further sections that may be given, with their classes.
        ties_embedding_size: whether `embedding_size` must equal `hidden_size`.
        settings: fields of `training` that only some architectures heed, and this one does.
        isolates_documents: whether `forward` takes `document_ids`, across which nothing is seen.
        gains_from_compile: whether `torch.compile` was found to make it faster on GPUs.

    Raises:
        TypeError: the class is no `BaseLanguageModel`, or section and schema do not go together.
        DuplicateNameError: the name is taken.
    """
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise TypeError(f"an architecture's name has letters, digits, '.', '_', '-'; got {name!r}.")
    if isinstance(objectives, str) or not objectives:
        raise TypeError(f"Architecture {name!r}: objectives= is a tuple, got {objectives!r}.")
    resolved = _section_schema(name, section, schema)

    def register(cls: C) -> C:
        if not (isinstance(cls, type) and issubclass(cls, BaseLanguageModel)):
            raise TypeError(
                f"{getattr(cls, '__name__', cls)!r} cannot be registered as architecture {name!r}: "
                "it must be a subclass of BaseLanguageModel."
            )
        require_complete(name, cls)
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


def _section_schema(
    name: str, section: str | None, schema: type[BaseModel] | None
) -> type[BaseModel] | None:
    """Return the class of a section, and refuse pairs that leave it open which one is meant."""
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
    """Add an architecture, or hand the class of a built-in one to its spec."""
    try:
        ARCHITECTURES.add(spec, cls)
    except DuplicateNameError:
        present = ARCHITECTURES[spec.name]
        says_only_its_name = spec == ArchitectureSpec(name=spec.name, target=spec.target)
        if not says_only_its_name or present.target != spec.target:
            raise
        ARCHITECTURES.add(present, cls)


def speed_up(model: nn.Module, speed: SpeedConfig) -> None:
    """Compute faster, where the experiment says so, what the modules of a model compute."""
    if speed.fused_activations:
        fuse_activations(model)
    if speed.fp32_products == "onednn":
        multiply_by_onednn(model)
    for module in model.modules():
        if isinstance(module, WholeSequences):
            module.fused = speed.fused_recurrence


def create_model_from_config(
    config: ExperimentConfig, *, vocab_size: int | None = None, **ids: int | None
) -> BaseLanguageModel:
    """Make the model that an experiment asks for, with random weights.

    Args:
        config: the experiment.
        vocab_size: rows of the embedding matrix, as many as the tokenizer has entries; None: as
            many as `tokenizer.vocab_size` asks for.
        **ids: `pad_token_id` and the other special tokens of the tokenizer, by role.

    Raises:
        ConfigError: the architecture is not registered, or its section is missing.
        DataError: a special token lies outside the vocabulary.
    """
    vocab_size = config.tokenizer.vocab_size if vocab_size is None else vocab_size
    name = config.model.architecture
    spec = ARCHITECTURES[name]
    if spec.section and getattr(config.model, spec.section, None) is None:
        raise ConfigError(f"Architecture {name!r} requires {spec.section!r} configuration")
    for role, token in ids.items():
        if token is not None and not 0 <= token < vocab_size:
            raise DataError(
                f"tokenizer: {role} (={token}) lies outside the vocabulary of {vocab_size} entries."
            )
    with telling_of_plugins():
        model = MODEL_REGISTRY[name].from_config(config, vocab_size=vocab_size, **ids)
    speed_up(model, config.training.speed)
    model.build_record = plain_directory.build_record(
        config, plugin_of(type(model)), vocab_size=vocab_size, **ids
    )
    return model


def plugin_of(cls: type) -> tuple[str, str] | None:
    """Return name and SHA-256 of the plugin file that defines a class; None: no plugin does."""
    for path, digest in LOADED_PLUGINS.items():
        if cls.__module__ == _module_name(Path(path), digest):
            return Path(path).name, digest
    return None


def _module_name(path: Path, digest: str) -> str:
    # The digest keeps two files of one name apart.
    return f"foundry_plugin_{path.stem}_{digest[:16]}"


def load_plugin(path: str | Path) -> str:
    """Run a file of one's own that registers architectures, once a process; return its SHA-256.

    Raises:
        ConfigError: the file is missing, or raises something when it is run.
    """
    try:
        path = Path(written_path(path))
        is_file = path.is_file()
    except (RuntimeError, ValueError, OSError) as error:  # no such home; no name of a file
        raise ConfigError(f"plugin {one_line(path)}: {said_of(error)}.") from error
    if not is_file:
        raise ConfigError(f"plugin {path}: no such file.")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"plugin {path}: cannot be read ({error.strerror}).") from error
    LOADED_PLUGINS[str(path)] = digest
    module_name = _module_name(path, digest)
    if module_name not in sys.modules:
        before = Registry.num_added
        _import_file(path, module_name)
        if Registry.num_added == before:
            logger.warning("plugin %s: registers nothing; a decorator may be missing", path)
    return digest


def _import_file(path: Path, module_name: str) -> None:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin {path}: not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        del LOADED_PLUGINS[str(path)]
        place = place_of(error, str(path)) or path
        raise ConfigError(f"plugin {place}: {said_of(error)}") from error
