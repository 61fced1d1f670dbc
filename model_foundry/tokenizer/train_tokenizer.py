"""From an experiment to its tokenizer: trained on the train split once, then found in the cache."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from transformers import PreTrainedTokenizerFast

from model_foundry.config import ExperimentConfig, TokenizerConfig, load_config
from model_foundry.data.sources import content_hash, read_splits
from model_foundry.durable import MANIFEST, commit_directory, is_committed
from model_foundry.tokenizer.factory import TokenizerFactory, load_tokenizer

logger = logging.getLogger(__name__)

OPTIONS = {
    "sentencepiece": ("model_type", "normalization"),
    "wordpiece": ("lowercase",),
    "bpe": (),
    "character": (),
}


def train_in_cache(config: TokenizerConfig, documents: Sequence[str], *, cache: Path) -> Path:
    """Train a tokenizer on documents, unless the same was done before; return its directory.

    Args:
        cache: directory in which trained tokenizers are kept, each under the hash of its settings
            and its training text.

    Raises:
        ConfigError: a setting that cannot be met on this text.
        DataError: text that no tokenizer can be trained on.
    """
    settings = config.model_dump(include={"tokenizer_type", "vocab_size", "special_tokens"})
    settings |= config.model_dump(include=set(OPTIONS[config.tokenizer_type]))
    made_of = [settings, content_hash(documents), tokenizers.__version__]
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    directory = cache / "tokenizers" / digest[:32]
    if not is_committed(directory):
        logger.info("training a %s tokenizer", config.tokenizer_type)
        TokenizerFactory.train(documents=documents, output_dir=directory, **settings)
    return directory


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


def train_tokenizer_from_config(
    experiment: ExperimentConfig | str | Path,
) -> PreTrainedTokenizerFast:
    """Train the tokenizer of an experiment, or of its file, into `<output_dir>/tokenizer`.

    Raises:
        ConfigError: the file is wrong, or a setting cannot be met.
        DataError: the corpus cannot be used.
    """
    config = experiment if isinstance(experiment, ExperimentConfig) else load_config(experiment)
    splits = read_splits(config.data, seed=config.seeds.data)
    directory = train_in_cache(config.tokenizer, splits.train, cache=config.data.cache)
    target = config.output_dir / "tokenizer"
    copy_tokenizer(directory, target)
    return load_tokenizer(target)
