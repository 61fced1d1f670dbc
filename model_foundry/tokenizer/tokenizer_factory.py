"""Training of tokenizers of any kind, from text or for an experiment."""

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from transformers import PreTrainedTokenizerFast

from model_foundry.config import ExperimentConfig, TokenizerConfig, load_config
from model_foundry.data.corpus.splits import Split, open_splits
from model_foundry.data.corpus.text_sample import sample_of, sample_of_texts
from model_foundry.errors import ConfigError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.cache import building
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_pool import processes_for
from model_foundry.interventions.preparation import prepare_steps
from model_foundry.registry import nearest
from model_foundry.tokenizer import bpe, character, sentencepiece, word, wordpiece
from model_foundry.tokenizer.loading import copy_tokenizer, load_tokenizer
from model_foundry.tokenizer.saving import save_tokenizer
from model_foundry.tokenizer.sentencepiece import Normalization
from model_foundry.tokenizer.sentencepiece_conversion import ModelType
from model_foundry.tokenizer.training_text import (
    TrainedTokenizer,
    check_text,
    read_files,
)

logger = logging.getLogger(__name__)

RECIPE = 2  # part of the cache key; raised when the same text and settings give another tokenizer

InputFiles = str | Path | Iterable[str | Path]
SpecialTokens = Mapping[str, str | None] | None

TRAINERS: dict[str, Callable[..., TrainedTokenizer]] = {
    "sentencepiece": sentencepiece.train,
    "wordpiece": wordpiece.train,
    "bpe": bpe.train,
    "character": character.train,
    "word": word.train,
}


def _save(trained: TrainedTokenizer, output_dir: str | Path) -> None:
    with commit_directory(Path(output_dir)) as directory:
        save_tokenizer(trained.tokenizer, directory)
        for name, content in trained.extra_files.items():
            (directory / name).write_bytes(content)


class TokenizerFactory:
    """Static methods that train tokenizers and return them as fast tokenizers of transformers.

    Exactly one of `input_files` (UTF-8 text files, each one document) and `documents` is given.
    `vocab_size` counts the special tokens; a small corpus may yield fewer tokens, with a warning.
    `special_tokens` maps roles (pad, unk, bos, eos, cls, sep, mask) to strings, instead of the
    defaults of the kind. `output_dir` receives a directory that `AutoTokenizer.from_pretrained`
    loads; None writes nothing.

    All methods raise:
        ConfigError: a setting is invalid, or does not fit the text.
        DataError: the text cannot be read or used.
        SaveError: `output_dir` cannot be written.
    """

    @staticmethod
    def train(
        tokenizer_type: str,
        *,
        documents: Iterable[str],
        vocab_size: int | None,
        special_tokens: SpecialTokens = None,
        output_dir: str | Path | None = None,
        requested: str | None = "tokenizer.vocab_size",
        **options: Any,
    ) -> PreTrainedTokenizerFast:
        """Train a tokenizer of a kind, with its `options`.

        `requested` names the setting of `vocab_size` in the warning of fewer tokens; None: none.
        """
        if tokenizer_type not in TRAINERS:
            near = nearest(tokenizer_type, list(TRAINERS))
            hint = f" Did you mean {near!r}?" if near else ""
            raise ConfigError(
                f"tokenizer.tokenizer_type: {tokenizer_type!r} is not known; "
                f"choose one of {', '.join(sorted(TRAINERS))}.{hint}"
            )
        # a list, because trainers iterate in threads of their own, whose stacks are small
        texts = list(check_text(documents))
        trained = TRAINERS[tokenizer_type](
            texts, vocab_size=vocab_size, special_tokens=special_tokens, **options
        )
        size = len(trained.tokenizer)
        if requested is not None and vocab_size is not None and size < vocab_size:
            logger.warning(
                "%s: %d requested, but the training text yields only %d tokens.",
                *(requested, vocab_size, size),
            )
        if output_dir is not None:
            _save(trained, output_dir)
        return trained.tokenizer

    @staticmethod
    def train_sentencepiece(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: SpecialTokens = None,
        *,
        documents: Iterable[str] | None = None,
        model_type: ModelType = "unigram",
        normalization: Normalization = "identity",
        byte_fallback: bool = True,
    ) -> PreTrainedTokenizerFast:
        """Train a SentencePiece tokenizer, lossless by default."""
        given = (input_files, documents, output_dir, vocab_size, special_tokens)
        return _train_on(
            "sentencepiece",
            *given,
            model_type=model_type,
            normalization=normalization,
            byte_fallback=byte_fallback,
        )

    @staticmethod
    def train_wordpiece(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: SpecialTokens = None,
        *,
        documents: Iterable[str] | None = None,
        lowercase: bool = False,
    ) -> PreTrainedTokenizerFast:
        """Train a WordPiece tokenizer, as in BERT."""
        given = (input_files, documents, output_dir, vocab_size, special_tokens)
        return _train_on("wordpiece", *given, lowercase=lowercase)

    @staticmethod
    def train_bpe(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: SpecialTokens = None,
        *,
        documents: Iterable[str] | None = None,
    ) -> PreTrainedTokenizerFast:
        """Train a byte-level BPE tokenizer, as in GPT-2."""
        given = (input_files, documents, output_dir, vocab_size, special_tokens)
        return _train_on("bpe", *given)

    @staticmethod
    def train_character(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int | None = None,
        special_tokens: SpecialTokens = None,
        *,
        documents: Iterable[str] | None = None,
    ) -> PreTrainedTokenizerFast:
        """Train a character tokenizer; `vocab_size` None keeps every character of the text."""
        given = (input_files, documents, output_dir, vocab_size, special_tokens)
        return _train_on("character", *given)

    @staticmethod
    def train_word(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: SpecialTokens = None,
        *,
        documents: Iterable[str] | None = None,
        min_frequency: int = 1,
    ) -> PreTrainedTokenizerFast:
        """Train a tokenizer of words between white space; rare words are unknown."""
        given = (input_files, documents, output_dir, vocab_size, special_tokens)
        return _train_on("word", *given, min_frequency=min_frequency)


def _train_on(
    kind: str,
    input_files: InputFiles | None,
    documents: Iterable[str] | None,
    output_dir: str | Path | None,
    vocab_size: int | None,
    special_tokens: SpecialTokens,
    **options: Any,
) -> PreTrainedTokenizerFast:
    if input_files is not None and documents is None:
        documents = read_files(input_files)
    elif documents is None or input_files is not None:
        raise ConfigError("input_files, documents: give exactly one of them as the training text.")
    return TokenizerFactory.train(
        kind,
        documents=documents,
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        output_dir=output_dir,
        **options,
    )


def _settings_of(config: TokenizerConfig) -> dict[str, Any]:
    """Return the settings of the tokenizer's kind: the keyword arguments of its trainer."""
    keywords = inspect.signature(TRAINERS[config.tokenizer_type]).parameters
    return config.model_dump(include=set(keywords) & set(TokenizerConfig.model_fields))


def _requested(config: TokenizerConfig, section: str = "tokenizer") -> str | None:
    """Return the setting that asks for a size; None: it is the default, which asks for none."""
    return f"{section}.vocab_size" if "vocab_size" in config.model_fields_set else None


def check_settings(config: TokenizerConfig) -> None:
    """Check the settings by training on a tiny text.

    Raises:
        ConfigError: the vocabulary is too small for any text, or a special token is not allowed.
    """
    settings = _settings_of(config)
    if "min_frequency" in settings:
        settings["min_frequency"] = 1  # a larger text may meet any
    TRAINERS[config.tokenizer_type](["some text"], **settings)


def train_on_texts(
    config: TokenizerConfig, texts: Sequence[str], section: str = "tokenizer"
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on texts, such as those of a column; `section` names its settings.

    Raises:
        ConfigError: a setting does not fit these texts.
        DataError: no tokenizer can be trained on them.
    """
    logger.info("training a %s tokenizer", config.tokenizer_type)
    sample = sample_of_texts(texts, config.training_bytes)
    with blocking_section("the training of the tokenizer"):
        return TokenizerFactory.train(
            config.tokenizer_type,
            documents=sample,
            requested=_requested(config, section),
            **_settings_of(config),
        )


def train_in_cache(
    config: TokenizerConfig, split: Split, *, cache: Path, hashes: FileHashes, processes: int = 0
) -> Path:
    """Train a tokenizer on a split, or find it in the cache; return its directory.

    Args:
        processes: number of processes that apply interventions to the text; 0: this one.

    Raises:
        ConfigError: a setting does not fit this text.
        DataError: no tokenizer can be trained on the text.
    """
    kind, settings, limit = config.tokenizer_type, _settings_of(config), config.training_bytes
    cache_key = split.cache_key(hashes.of_source)
    key = [RECIPE, kind, settings, limit, cache_key, tokenizers.__version__]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    directory = cache / "tokenizers" / digest[:32]
    with building(directory) as missing:
        if missing:
            logger.info("training a %s tokenizer", kind)
            with blocking_section("the training of the tokenizer"):
                texts = sample_of(split, limit, processes=processes)
                place: dict[str, Any] = {"output_dir": directory, "requested": _requested(config)}
                TokenizerFactory.train(kind, documents=texts, **place, **settings)
    return directory


def train_tokenizer_from_config(
    experiment: ExperimentConfig | str | Path,
) -> PreTrainedTokenizerFast:
    """Train the tokenizer of an experiment, or of its file, into `<output_dir>/tokenizer`.

    Raises:
        ConfigError: the file is wrong, or a setting does not fit the text.
        DataError: the corpus cannot be used.
    """
    config = experiment if isinstance(experiment, ExperimentConfig) else load_config(experiment)
    prepare_steps(config.data.interventions)
    directory = train_in_cache(
        config.tokenizer,
        open_splits(config.data, seed=config.seeds.split).train,
        cache=config.data.cache,
        hashes=FileHashes(config.data.cache),
        processes=processes_for(config.data.preprocessing_num_workers),
    )
    copy_tokenizer(directory, target := config.output_dir / "tokenizer")
    return load_tokenizer(target)
