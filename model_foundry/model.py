"""From an experiment to its model, with random weights drawn from the experiment's own seed."""

import os
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel, create_model_from_config
from model_foundry.config import OBJECTIVES, ExperimentConfig, experiment_of
from model_foundry.errors import ConfigError
from model_foundry.foundation.atomic_files import is_committed
from model_foundry.foundation.paths import written_path
from model_foundry.foundation.random_state import seeded
from model_foundry.foundation.token_roles import first_token_id
from model_foundry.tokenizer.framing import framed
from model_foundry.tokenizer.loading import load_tokenizer

TOKEN_ROLES = ("pad", "bos", "eos", "cls", "sep", "mask")


def create_model(
    config: ExperimentConfig | str | Path,
    *,
    vocab_size: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> BaseLanguageModel:
    """Make the model of an experiment. The same seed gives the same weights, whatever ran before.

    Args:
        config: the experiment, or the path of its file.
        vocab_size: rows of the embedding matrix; None: the length of the tokenizer.
        tokenizer: its length and special tokens go into the model; None: the one that was trained
            in the run directory or that `tokenizer.path` names, else none, and then
            `tokenizer.vocab_size` counts.

    Raises:
        ConfigError: the architecture is not registered, or its section is missing.
        DataError: the tokenizer that the experiment names cannot be loaded, or lacks what frames
            the texts of its objective.
    """
    config = experiment_of(config)
    if tokenizer is None:
        tokenizer = find_tokenizer(config)
    if vocab_size is None:
        vocab_size = config.tokenizer.vocab_size if tokenizer is None else len(tokenizer)
    if vocab_size < 1:
        raise ConfigError(f"vocab_size: must be > 0, got {vocab_size}")
    with seeded(config.seeds.init):
        return create_model_from_config(
            config, vocab_size=vocab_size, **special_token_ids(tokenizer)
        )


def find_tokenizer(config: ExperimentConfig) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer that an experiment names or has trained; None where there is none yet.

    It frames a text as the objective of the experiment does.
    """
    place: str | Path | None = config.tokenizer.path
    if place is None:
        place = config.output_dir / "tokenizer"
        if not place.is_dir():
            return None
    tokenizer, objective = load_tokenizer(place), OBJECTIVES.load(config.training.objective)()
    return framed(tokenizer, objective.frame(tokenizer))


def special_token_ids(tokenizer: PreTrainedTokenizerBase | None) -> dict[str, int | None]:
    """Return the special ids that a model keeps in its config.

    A text is begun and ended by bos and eos, or by cls and sep where a tokenizer has no such roles.
    A pad id that means something else as well is left out: BERT would never train its embedding.
    """
    if tokenizer is None:
        return {}
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in TOKEN_ROLES}
    for roles in (("bos", "cls"), ("eos", "sep")):
        ids[f"{roles[0]}_token_id"] = first_token_id(tokenizer, *roles)
    meant = {index for role, index in ids.items() if role != "pad_token_id"}
    if ids["pad_token_id"] in meant:
        ids["pad_token_id"] = None
    return ids


def newest_model(run: Path) -> Path | None:
    """Return the final model of a run directory, or else its newest checkpoint; None: neither."""
    if is_committed(run / "model"):
        return run / "model"
    whole = [path for path in run.glob("checkpoints/step-*") if is_committed(path)]
    return max(whole, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def find_model(path: str | Path) -> Path:
    """Return the directory of a model: of a run the final one, or else its newest checkpoint.

    Args:
        path: a run, a model or a checkpoint.

    Raises:
        ConfigError: there is no model.
    """
    try:
        place = Path(written_path(path))
        newest, is_directory = newest_model(place), place.is_dir()
    except (RuntimeError, ValueError, OSError) as error:  # no such home; no name of a file
        said = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({said})") from error
    if newest is not None:
        return newest
    if not is_directory:
        kind = "is a file" if place.exists() else "no such directory"
        raise ConfigError(f"{path}: {kind}; name a run or a model")
    if not os.path.lexists(place / "config.json"):  # what it is, is looked at by whoever reads
        raise ConfigError(f"{path}: holds no model; name a run with a checkpoint, or a model")
    return place


def find_tokenizer_of(model: Path) -> Path:
    """Return the directory of the tokenizer of a model: that of the model, or of its run."""
    places = (model, *(parent / "tokenizer" for parent in (model.parent, model.parent.parent)))
    return next((p for p in places if (p / "tokenizer.json").is_file()), model)


def load_model(directory: str | Path) -> BaseLanguageModel:
    """Load a model as the architecture that wrote it, ready to be evaluated.

    Args:
        directory: of a model or checkpoint, or of a run, whose newest model is meant.

    Raises:
        ConfigError: there is no model.
    """
    return BaseLanguageModel.from_pretrained(find_model(directory)).eval()
