"""The public entrance: train a tokenizer of any kind from text, or as an experiment asks for it.

What a kind does stands in its own file; what is trained already is read by `loading`.
"""

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from transformers import PreTrainedTokenizerFast

from model_foundry.config import ExperimentConfig, TokenizerConfig, load_config
from model_foundry.data.corpus.splits import Split, open_splits
from model_foundry.data.corpus.text_sample import sample_of
from model_foundry.errors import ConfigError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.cache import building
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_pool import processes_for
from model_foundry.interventions.ai_step.step import prepare_ai_steps
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
    report_vocab_size,
)

logger = logging.getLogger(__name__)

RECIPE = 2  # raised whenever the same text and settings give another tokenizer

InputFiles = str | Path | Iterable[str | Path]

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


def _choose_documents(
    input_files: InputFiles | None, documents: Iterable[str] | None
) -> Iterable[str]:
    if input_files is not None and documents is None:
        return read_files(input_files)
    if documents is not None and input_files is None:
        return documents
    raise ConfigError(
        "input_files, documents: exactly one of them is the training text; give the other as None."
    )


class TokenizerFactory:
    """Trains tokenizers. All its methods are static and return a transformers fast tokenizer.

    Common to them: exactly one of `input_files` (UTF-8 text files, each one document) and
    `documents` is given. `vocab_size` counts the special tokens; a small corpus may yield fewer
    tokens, which is reported as a warning. `special_tokens` maps roles (pad, unk, bos, eos, cls,
    sep, mask) to strings, in place of the defaults of the kind. `output_dir` receives a directory
    that `AutoTokenizer.from_pretrained` loads; None writes nothing.

    Raises, all of them:
        ConfigError: a setting that cannot be met.
        DataError: text that cannot be read or learned from.
        SaveError: `output_dir` cannot be written.
    """

    @staticmethod
    def train(
        tokenizer_type: str,
        *,
        documents: Iterable[str],
        vocab_size: int | None,
        special_tokens: Mapping[str, str | None] | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> PreTrainedTokenizerFast:
        """Train a tokenizer of the kind with this name; `options` are those of the kind."""
        if tokenizer_type not in TRAINERS:
            near = nearest(tokenizer_type, list(TRAINERS))
            hint = f" Did you mean {near!r}?" if near else ""
            raise ConfigError(
                f"tokenizer.tokenizer_type: {tokenizer_type!r} is not known; "
                f"choose one of {', '.join(sorted(TRAINERS))}.{hint}"
            )
        # read here: the trainers would ask for it from threads of their own, whose stacks are small
        texts = list(check_text(documents))
        trained = TRAINERS[tokenizer_type](
            texts, vocab_size=vocab_size, special_tokens=special_tokens, **options
        )
        if vocab_size is not None:
            report_vocab_size(vocab_size, len(trained.tokenizer))
        if output_dir is not None:
            _save(trained, output_dir)
        return trained.tokenizer

    @staticmethod
    def train_sentencepiece(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: Mapping[str, str | None] | None = None,
        *,
        documents: Iterable[str] | None = None,
        model_type: ModelType = "unigram",
        normalization: Normalization = "identity",
        byte_fallback: bool = True,
    ) -> PreTrainedTokenizerFast:
        """Train a SentencePiece tokenizer, by default one that loses nothing."""
        return TokenizerFactory.train(
            "sentencepiece",
            documents=_choose_documents(input_files, documents),
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            output_dir=output_dir,
            model_type=model_type,
            normalization=normalization,
            byte_fallback=byte_fallback,
        )

    @staticmethod
    def train_wordpiece(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: Mapping[str, str | None] | None = None,
        *,
        documents: Iterable[str] | None = None,
        lowercase: bool = False,
    ) -> PreTrainedTokenizerFast:
        """Train a WordPiece tokenizer, as BERT uses it."""
        return TokenizerFactory.train(
            "wordpiece",
            documents=_choose_documents(input_files, documents),
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            output_dir=output_dir,
            lowercase=lowercase,
        )

    @staticmethod
    def train_bpe(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: Mapping[str, str | None] | None = None,
        *,
        documents: Iterable[str] | None = None,
    ) -> PreTrainedTokenizerFast:
        """Train a byte-level BPE tokenizer, as GPT-2 uses it."""
        return TokenizerFactory.train(
            "bpe",
            documents=_choose_documents(input_files, documents),
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            output_dir=output_dir,
        )

    @staticmethod
    def train_character(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int | None = None,
        special_tokens: Mapping[str, str | None] | None = None,
        *,
        documents: Iterable[str] | None = None,
    ) -> PreTrainedTokenizerFast:
        """Train a character tokenizer; `vocab_size` None: it knows every character it has seen."""
        return TokenizerFactory.train(
            "character",
            documents=_choose_documents(input_files, documents),
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            output_dir=output_dir,
        )

    @staticmethod
    def train_word(
        input_files: InputFiles | None = None,
        output_dir: str | Path | None = None,
        vocab_size: int = 8000,
        special_tokens: Mapping[str, str | None] | None = None,
        *,
        documents: Iterable[str] | None = None,
        min_frequency: int = 1,
    ) -> PreTrainedTokenizerFast:
        """Train a tokenizer of words between white space, of which rare ones are unknown to it."""
        return TokenizerFactory.train(
            "word",
            documents=_choose_documents(input_files, documents),
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            output_dir=output_dir,
            min_frequency=min_frequency,
        )


def _settings_of(config: TokenizerConfig) -> dict[str, Any]:
    """Return the settings that this kind reads: they are the keywords of its trainer."""
    keywords = inspect.signature(TRAINERS[config.tokenizer_type]).parameters
    return config.model_dump(include=set(keywords) & set(TokenizerConfig.model_fields))


def check_settings(config: TokenizerConfig) -> None:
    """Refuse settings that no text could meet, by training on next to none.

    Raises:
        ConfigError: the vocabulary is too small, or a special token is not allowed.
    """
    settings = _settings_of(config)
    if "min_frequency" in settings:
        settings["min_frequency"] = 1  # some text meets any
    TRAINERS[config.tokenizer_type](["some text"], **settings)


def train_in_cache(
    config: TokenizerConfig, split: Split, *, cache: Path, hashes: FileHashes, processes: int = 0
) -> Path:
    """Train a tokenizer on a split, unless the same was done before; return its directory.

    Args:
        cache: directory in which trained tokenizers are kept, each under the hash of its settings
            and of what its training text was made of.
        processes: how many apply interventions to the text; 0: this one does.

    Raises:
        ConfigError: a setting that cannot be met on this text.
        DataError: text that no tokenizer can be trained on.
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
                TokenizerFactory.train(kind, documents=texts, output_dir=directory, **settings)
    return directory


def train_tokenizer_from_config(
    experiment: ExperimentConfig | str | Path,
) -> PreTrainedTokenizerFast:
    """Train the tokenizer of an experiment, or of its file, into `<output_dir>/tokenizer`.

    Raises:
        ConfigError: the file is wrong, or a setting cannot be met.
        DataError: the corpus cannot be used.
    """
    config = experiment if isinstance(experiment, ExperimentConfig) else load_config(experiment)
    prepare_ai_steps(config.data.interventions)
    directory = train_in_cache(
        config.tokenizer,
        open_splits(config.data, seed=config.seeds.split).train,
        cache=config.data.cache,
        hashes=FileHashes(config.data.cache),
        processes=processes_for(config.data.preprocessing_num_workers),
    )
    copy_tokenizer(directory, target := config.output_dir / "tokenizer")
    return load_tokenizer(target)
