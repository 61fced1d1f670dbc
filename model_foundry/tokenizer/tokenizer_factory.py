"""The public entrance: train a tokenizer of any kind, save it, load it.

What a kind does stands in its own file; reading an experiment file is not done here.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from model_foundry.durable import commit_directory
from model_foundry.errors import ConfigError, DataError
from model_foundry.registry import nearest
from model_foundry.tokenizer import bpe, character, sentencepiece, wordpiece
from model_foundry.tokenizer.corpus import (
    TrainedTokenizer,
    check_text,
    read_files,
    report_vocab_size,
)
from model_foundry.tokenizer.sentencepiece import Normalization
from model_foundry.tokenizer.sentencepiece_conversion import ModelType

InputFiles = str | Path | Iterable[str | Path]

TRAINERS: dict[str, Callable[..., TrainedTokenizer]] = {
    "sentencepiece": sentencepiece.train,
    "wordpiece": wordpiece.train,
    "bpe": bpe.train,
    "character": character.train,
}
_CONFIG_FILE = "tokenizer_config.json"
_VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def _save(trained: TrainedTokenizer, output_dir: str | Path) -> None:
    with commit_directory(Path(output_dir)) as directory:
        trained.tokenizer.save_pretrained(directory)
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
        special_tokens: Mapping[str, str] | None = None,
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
        trained = TRAINERS[tokenizer_type](
            check_text(documents), vocab_size=vocab_size, special_tokens=special_tokens, **options
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
        special_tokens: Mapping[str, str] | None = None,
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
        special_tokens: Mapping[str, str] | None = None,
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
        special_tokens: Mapping[str, str] | None = None,
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
        special_tokens: Mapping[str, str] | None = None,
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
    if Path(path).is_dir():
        _require_tokenizer_files(Path(path))
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
