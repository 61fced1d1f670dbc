"""Models of an experiment: created with random weights from its seed, found and loaded."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseModel, create_model_from_config
from model_foundry.architectures.initial_weights import begin_from, require_same_body
from model_foundry.architectures.saving.native_format import LANGUAGE, weight_files
from model_foundry.config import OBJECTIVES, ExperimentConfig, experiment_of
from model_foundry.errors import CheckpointError, ConfigError
from model_foundry.foundation.atomic_files import file_sha256, find_damage, is_committed
from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.paths import written_path
from model_foundry.foundation.random_state import seeded
from model_foundry.foundation.untrusted_files import require_regular_files
from model_foundry.objectives.preparation import inspect
from model_foundry.objectives.processors import TOKENIZER
from model_foundry.tokenizer.framing import framed
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.special_tokens import special_token_ids, with_tokens

logger = logging.getLogger(__name__)

CHECKPOINT = re.compile(r"step-\d{8,}")


def create_model(
    config: ExperimentConfig | str | Path,
    *,
    vocab_size: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **arguments: Any,
) -> BaseModel:
    """Create the model of an experiment. The same seed always gives the same weights.

    Args:
        config: the experiment, or the path of its file.
        vocab_size: rows of the embedding matrix; None: the length of the tokenizer.
        tokenizer: source of the vocabulary size and special tokens; None: the tokenizer of
            `tokenizer.path` or of the run directory, or without one, `tokenizer.vocab_size`.
        **arguments: of the architecture's `from_config`, as the objective's `model_arguments` gives
            them; without any, those of a task on plain text follow from its tokenizer, and those
            of labels and pairs from their data, which are read.

    Raises:
        ConfigError: the architecture is not registered, or its section is missing.
        DataError: the tokenizer or the data cannot be loaded, or lack what the objective needs.
    """
    config = experiment_of(config)
    task = OBJECTIVES[config.training.objective]
    if not arguments and (task.reads_token_stream or task.model_kind == LANGUAGE):
        arguments = _vocabulary(config, vocab_size, tokenizer)
    elif not arguments and vocab_size is None:
        arguments = inspect(config).model_arguments
    elif vocab_size is not None:
        arguments["vocab_size"] = vocab_size
    with seeded(config.seeds.init):
        return create_model_from_config(config, **arguments)


def _vocabulary(
    config: ExperimentConfig, size: int | None, tokenizer: PreTrainedTokenizerBase | None
) -> dict[str, int | None]:
    """Return the vocabulary size and the special tokens of a language model."""
    if tokenizer is None:
        tokenizer = find_tokenizer(config)
    if size is None:
        size = config.tokenizer.vocab_size if tokenizer is None else len(tokenizer)
    if size < 1:
        raise ConfigError(f"vocab_size: must be > 0, got {size}")
    return {"vocab_size": size, **special_token_ids(tokenizer)}


def find_tokenizer(config: ExperimentConfig) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer that an experiment names or has trained; None if there is none yet.

    It adds the special tokens of the experiment's objective, if that is of language models.
    """
    place: str | Path | None = config.tokenizer.path
    if place is None:
        place = config.output_dir / "tokenizer"
        if not place.is_dir():
            return None
    tokenizer, name = load_tokenizer(place), config.training.objective
    if not OBJECTIVES[name].reads_token_stream:
        return tokenizer
    objective = OBJECTIVES.load(name)(config)
    return framed(with_tokens(tokenizer, objective.added_tokens), objective.frame(tokenizer))


def newest_model(run: Path) -> Path | None:
    """Return the final model of a run directory, else its newest checkpoint; None: neither."""
    if is_committed(run / "model"):
        return run / "model"
    steps = [path for path in run.glob("checkpoints/step-*") if is_committed(path)]
    return max(steps, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def is_checkpoint(path: Path) -> bool:
    """Return True for a directory that is a checkpoint by its place, and has or lacks a manifest.

    The name alone tells one that has lost its manifest.
    """
    is_named = CHECKPOINT.fullmatch(path.name) is not None and path.is_dir()
    return path.parent.name == "checkpoints" and (is_named or is_committed(path))


def find_model(path: str | Path) -> Path:
    """Return the directory of a model.

    Args:
        path: a model, a checkpoint, or a run: its final model, else its newest checkpoint.

    Raises:
        CheckpointError: the model of the run, or the checkpoint, is damaged.
        ConfigError: there is no model.
    """
    try:
        place = Path(written_path(path))
        newest, is_directory = newest_model(place), place.is_dir()
    except (RuntimeError, ValueError, OSError) as error:  # unknown home; invalid file name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason})") from error
    if newest is None and is_checkpoint(place):
        newest = place
    if newest is not None:
        if (fault := find_damage(newest)) is None:
            return newest
        if newest.exists():
            raise CheckpointError(f"{newest}: damaged, {fault}; name another checkpoint or model")
        return find_model(path)  # a training beside this process has deleted it
    if not is_directory:
        kind = "is a file" if place.exists() else "no such directory"
        raise ConfigError(f"{path}: {kind}; name a run or a model")
    if not os.path.lexists(place / "config.json"):  # validated when it is read
        raise ConfigError(f"{path}: holds no model; name a run with a checkpoint, or a model")
    return place


def find_tokenizer_of(model: Path) -> Path:
    """Return the tokenizer directory of a model: its own, or that of its run."""
    places = (model, *(parent / "tokenizer" for parent in (model.parent, model.parent.parent)))
    return next((p for p in places if (p / "tokenizer.json").is_file()), model)


def load_model(directory: str | Path) -> BaseModel:
    """Load a model as the architecture that saved it, in evaluation mode.

    Args:
        directory: a model, a checkpoint, or a run: its newest model.

    Raises:
        ConfigError: there is no model.
    """
    return BaseModel.from_pretrained(find_model(directory)).eval()


def initial_weights_sha256(config: ExperimentConfig) -> str | None:
    """Return the SHA-256 of the weights that a model begins with; None: they are random.

    Raises:
        CheckpointError: the model of `model.init_from` is damaged.
        ConfigError: there is no model.
    """
    directory = initial_directory(config)
    if directory is None:
        return None
    hashes = [file_sha256(directory / name) for name in weight_files(directory)]
    return hashes[0] if len(hashes) == 1 else sha256(" ".join(hashes).encode()).hexdigest()


def initial_directory(config: ExperimentConfig) -> Path | None:
    """Return the model directory that `model.init_from` names; None: it names none.

    Raises:
        ConfigError: there is no model.
    """
    if config.model.init_from is None:
        return None
    try:
        directory = find_model(config.model.init_from)
        require_regular_files(directory, *weight_files(directory), error=ConfigError)
    except ConfigError as error:
        raise ConfigError(f"model.init_from: {error}") from error
    return directory


def compare_with_initial(config: ExperimentConfig) -> None:
    """Compare a model with the weights of `model.init_from`, before data are read or it is made.

    Raises:
        CheckpointError: the model of `model.init_from` is damaged.
        ConfigError: there is no model, or its weights are those of another.
    """
    directory = initial_directory(config)
    if directory is not None:
        require_same_body(config, directory)


def initialize(
    model: BaseModel,
    config: ExperimentConfig,
    tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
) -> dict[str, Any] | None:
    """Give a model the weights that `model.init_from` names; return a report, None without one.

    Args:
        model: with random weights, which its head keeps where the task is another; on the meta
            device it is only checked.
        tokenizers: of the experiment by role, which must be those of the weights; None: they are
            not known.

    Raises:
        CheckpointError: the model of `model.init_from` is damaged.
        ConfigError: there is no model, or its weights or its tokenizer do not fit.
    """
    directory = initial_directory(config)
    if directory is None:
        return None
    added = 0
    for role, tokenizer in (tokenizers or {}).items():
        own, section = role == TOKENIZER, f"training.{config.training.objective}.{role}"
        place = find_tokenizer_of(directory) if own else directory / role
        if (place / "tokenizer.json").is_file():
            remedy = f"set {'tokenizer' if own else section}.path={place} to take its tokenizer"
            added += _added_tokens(tokenizer, place, remedy)
    if added and len(tokenizers or {}) > 1:
        law = f"with two tokenizers, {added:,} tokens cannot be added to those of its own"
        raise ConfigError(f"model.init_from: {law}; take its tokenizers, or name another model.")
    beginning = begin_from(model, directory, added_tokens=added)
    logger.info("model.init_from (=%s): %s", directory, beginning)
    return {"directory": str(directory), **asdict(beginning)}


def _added_tokens(tokenizer: PreTrainedTokenizerBase, place: Path, remedy: str) -> int:
    """Return the number of tokens that a tokenizer has after all those of a directory.

    Raises:
        ConfigError: one of those has another number, or none.
    """
    here, there = tokenizer.get_vocab(), load_tokenizer(place).get_vocab()
    others = sorted(token for token, number in there.items() if here.get(token) != number)
    if not others:
        return len(here) - len(there)
    named = ", ".join(short_repr(token) for token in others[:3])
    raise ConfigError(
        f"model.init_from: {len(others):,} of its {len(there):,} tokens have other numbers here, "
        f"or none, such as {named}; {remedy}, or name another model."
    )
