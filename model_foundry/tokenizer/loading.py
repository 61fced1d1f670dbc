"""Loading and copying of trained tokenizers.

A directory is data, from whatever source. `tokenizer.json` is read by the generic class of
transformers; the class named in the directory only provides defaults.
"""

import inspect
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import PreTrainedTokenizerFast

from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.messages import reason_of, short_repr
from model_foundry.foundation.paths import written_path
from model_foundry.foundation.untrusted_files import read_json, require_regular_files

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
TOKENS_MAP = "special_tokens_map.json"
MODEL_CONFIG = "config.json"
CHAT_TEMPLATES = "additional_chat_templates/*.jinja"
# the files of a tokenizer directory that transformers opens, and that other tools may need
FILES = (
    *(TOKENIZER, SETTINGS, TOKENS_MAP, "added_tokens.json", "chat_template.jinja"),
    *("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt"),
)
OTHER_FILES = "fast_tokenizer_files"  # paths anywhere, for older versions of transformers
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
GENERIC = "PreTrainedTokenizerFast"  # which has no defaults of its own but the model inputs
REMEDY = "check the path, or train the tokenizer again"


def _read(directory: Path, name: str) -> dict[str, Any]:
    return read_json(directory, name, error=DataError, remedy=REMEDY)


def directory_of(path: str | Path) -> Path:
    """Return the directory of a tokenizer, downloaded if the path is a name on the hub."""
    try:
        directory = Path(written_path(path))
    except RuntimeError as error:
        raise DataError(f"{path}: {error}; check the path of the tokenizer.") from error
    if directory.is_dir():
        templates = [str(each.relative_to(directory)) for each in directory.glob(CHAT_TEMPLATES)]
        require_regular_files(directory, *FILES, MODEL_CONFIG, *templates, error=DataError)
        return directory
    if str(path).startswith((".", "/", "~")) or len(directory.parts) > 2:  # not a name on the hub
        raise DataError(f"{path}: no such directory; check the path of the tokenizer.")
    try:
        fetched = snapshot_download(
            str(path), allow_patterns=[*FILES, MODEL_CONFIG, CHAT_TEMPLATES]
        )
    except Exception as error:  # of many types: no network, no such name, no permission
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{path}: cannot be loaded as a tokenizer ({reason}); check the path or the hub name."
        ) from error
    return Path(fetched)


def _require_tokenizer(directory: Path) -> dict[str, Any]:
    """Return the settings of a tokenizer directory; refuse code and paths of other files."""
    if not ((directory / SETTINGS).exists() and (directory / TOKENIZER).exists()):
        raise DataError(
            f"{directory}: holds no tokenizer that can be read ({SETTINGS} and {TOKENIZER}); train "
            "one, or save one there with save_pretrained of its fast class."
        )
    settings = _read(directory, SETTINGS)
    if "auto_map" in settings:
        raise DataError(
            f"{directory / SETTINGS}: names code of its own (auto_map); code of a tokenizer "
            "directory is never run; save the tokenizer without it."
        )
    if OTHER_FILES in settings:
        raise DataError(
            f"{directory / SETTINGS}: names other files ({OTHER_FILES}); only {TOKENIZER} is read; "
            "save the tokenizer again."
        )
    if (directory / TOKENS_MAP).exists():
        # transformers would read any of its keys as a setting, even the path of the vocabulary
        strays = [k for k in _read(directory, TOKENS_MAP) if not k.endswith(("_token", "_tokens"))]
        if strays:
            raise DataError(
                f"{directory / TOKENS_MAP}: {short_repr(strays[0])} is no role of a token; "
                "save the tokenizer again."
            )
    return settings


def _class_of(directory: Path, settings: dict[str, Any]) -> Any:
    """Return the fast tokenizer class of transformers that a directory names, if any.

    It is looked up in their table, by the class or by the type of the model beside it.
    """
    name = settings.get("tokenizer_class")
    if name == GENERIC and "model_input_names" in settings:  # as we save all of ours
        return None
    # takes half a second to import
    from transformers.models.auto.tokenization_auto import (
        TOKENIZER_MAPPING_NAMES,
        tokenizer_class_from_name,
    )

    if name is None and (directory / MODEL_CONFIG).exists():
        model_type = _read(directory, MODEL_CONFIG).get("model_type")
        name = TOKENIZER_MAPPING_NAMES.get(model_type) if isinstance(model_type, str) else None
    known = {f"{each}".removesuffix("Fast") for each in TOKENIZER_MAPPING_NAMES.values()}
    if not isinstance(name, str) or name.removesuffix("Fast") not in known:
        return None
    found = tokenizer_class_from_name(name)
    is_fast = isinstance(found, type) and issubclass(found, PreTrainedTokenizerFast)
    return found if is_fast else None


def _add_class_defaults(
    tokenizer: PreTrainedTokenizerFast, directory: Path, settings: dict[str, Any]
) -> None:
    """Add the default roles and model inputs of a tokenizer's own class.

    The files of GPT-2 and BERT on the hub have neither. The vocabulary is not extended.
    """
    own_class = _class_of(directory, settings)
    if own_class is None:
        return
    defaults, vocabulary = inspect.signature(own_class).parameters, tokenizer.get_vocab()
    for role in (f"{role}_token" for role in ROLES):
        default = defaults[role].default if role in defaults else None
        missing = getattr(tokenizer, role) is None and role not in settings
        if missing and isinstance(default, str) and default in vocabulary:
            setattr(tokenizer, role, default)
    if "model_input_names" not in settings:
        tokenizer.model_input_names = list(own_class.model_input_names)


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer from a directory, or by its name on the HuggingFace hub.

    Raises:
        DataError: it is missing, damaged, not a fast tokenizer, or names code.
    """
    directory = directory_of(path)
    settings = _require_tokenizer(directory)
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False
        )
        _add_class_defaults(tokenizer, directory, settings)
        tokenizer("")
    except DataError:
        raise
    except BaseException as error:
        # the tokenizers library raises bare Exception, or its PanicException, a BaseException
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{path}: cannot be loaded as a tokenizer ({reason_of(error)}); check the path or the "
            "hub name, or train the tokenizer again."
        ) from error
    return tokenizer


def copy_tokenizer(source: str | Path, target: Path) -> None:
    """Copy the tokenizer of a directory or a hub name to `target`, atomically.

    Raises:
        DataError: there is no tokenizer.
        SaveError: `target` cannot be written.
    """
    directory = directory_of(source)
    _require_tokenizer(directory)
    with commit_directory(target) as aside:
        for path in [directory / name for name in FILES] + sorted(directory.glob(CHAT_TEMPLATES)):
            if path.exists():
                copy = aside / path.relative_to(directory)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)
