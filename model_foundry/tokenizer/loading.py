"""Tokenizers that are trained already: loaded, or copied from place to place."""

import shutil
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from model_foundry.durable import MANIFEST, commit_directory
from model_foundry.errors import DataError

_CONFIG_FILE = "tokenizer_config.json"
_VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def _require_tokenizer_files(directory: Path) -> None:
    """Refuse a directory for which transformers would make up a tokenizer from the model's type."""
    names = {entry.name for entry in directory.iterdir()}
    if _CONFIG_FILE not in names or names.isdisjoint(_VOCABULARY_FILES):
        raise DataError(
            f"{directory}: holds no tokenizer ({_CONFIG_FILE} and a vocabulary such as "
            "tokenizer.json); train one, or save one there with save_pretrained."
        )


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer from a directory, or by its name on the HuggingFace hub.

    Raises:
        DataError: there is none, it is broken, or it is not a fast tokenizer.
    """
    directory = Path(path).expanduser()
    if directory.is_dir():
        path = directory
        _require_tokenizer_files(directory)
    elif str(path).startswith((".", "/", "~")) or len(directory.parts) > 2:  # no name on a hub
        raise DataError(f"{path}: no such directory; check the path of the tokenizer.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{path}: cannot be loaded as a tokenizer ({reason}); check the path or the hub name, "
            "or train the tokenizer again."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise DataError(
            f"{path}: {type(tokenizer).__name__} is not a fast tokenizer, which is needed to "
            "relate tokens to text; save it again with a tokenizer.json."
        )
    return tokenizer


def copy_tokenizer(source: str | Path, target: Path) -> None:
    """Put the tokenizer of a directory, or of that hub name, into `target` in one step.

    Raises:
        DataError: there is no tokenizer.
        SaveError: `target` cannot be written.
    """
    with commit_directory(target) as aside:
        if Path(source).is_dir():
            ignored = shutil.ignore_patterns(MANIFEST)
            shutil.copytree(source, aside, dirs_exist_ok=True, ignore=ignored)
        else:
            load_tokenizer(source).save_pretrained(aside)
