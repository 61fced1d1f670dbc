"""The examples of language models: text, opened, tokenized and cut into rows.

documents -> tokenizer -> token streams -> rows. Writes to the cache only.
"""

import logging
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from model_foundry.config import (
    OBJECTIVES,
    DataConfig,
    ExperimentConfig,
    LanguageSource,
    TokenizerConfig,
)
from model_foundry.data.batches.order import usable_blocks
from model_foundry.data.batches.token_examples import (
    Blocks,
    Frame,
    PackedDocuments,
    TokenExamples,
)
from model_foundry.data.corpus.splits import Split, Splits, open_splits
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.encoding import Encoder
from model_foundry.data.tokens.overlap import shared_documents
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.data.tokens.tokenize import tokenize_split
from model_foundry.errors import DataError
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.process_pool import processes_for
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import train_in_cache

logger = logging.getLogger(__name__)


def open_texts(config: ExperimentConfig) -> Splits:
    """Open the texts of an experiment without reading them.

    Raises:
        DataError: a source does not exist, or a tokenizer that counts a budget.
    """
    count = None
    if config.tokenizer.path is not None and config.data.counts_tokens:
        count = Encoder(load_named_tokenizer(config.tokenizer)).count
    return open_splits(config.data, seed=config.seeds.split, count_tokens=count)


@dataclass(frozen=True)
class ExampleReader:
    """Tokenizes the texts of an experiment, and cuts them into rows."""

    config: ExperimentConfig
    tokenizer: PreTrainedTokenizerBase
    _: KW_ONLY
    frame: Frame
    """Ids before and after the text of each block."""
    word_starts: bool
    """True if rows have the column `word_starts`."""
    hashes: FileHashes

    def read(self, split: Split, without: TokenStream | None = None) -> TokenExamples:
        """Return the rows of a text, except documents that are in the stream `without`."""
        data = self.config.data
        stream = tokenize_split(
            split,
            self.tokenizer,
            cache=data.cache,
            hashes=self.hashes,
            processes=processes_for(data.preprocessing_num_workers),
            without=without,
        )
        rows = self.cut(stream, trains=split.name == "train")
        logger.info("%s: %s", split.name, rows.describe())
        return rows

    def cut(self, stream: TokenStream, *, trains: bool) -> TokenExamples:
        """Return the rows of a token stream; `trains` tells if they are trained on.

        Raises:
            DataError: there are too few to train on.
        """
        if self.config.data.packing == "documents":
            return self._pack_documents(stream)
        return self._cut_blocks(stream, trains=trains)

    def _row_sizes(self) -> tuple[int, int]:
        """Return the tokens of text in a row, and those that frame it."""
        data, framing = self.config.data, OBJECTIVES[self.config.training.objective].framing_tokens
        return data.content_tokens or data.max_sequence_length - framing, framing

    def _pack_documents(self, stream: TokenStream) -> PackedDocuments:
        data, frame = self.config.data, self.frame
        if not any(frame) and not document_frame(self.tokenizer)[0]:
            logger.warning(
                "the tokenizer puts no token of its own before a document, so that in rows of "
                "documents the first token of each is never predicted, and scores and generation "
                "start after a token that the model has never read; use data.packing=blocks, or a "
                "tokenizer with a bos token in its template"
            )
        return PackedDocuments(
            stream,
            length=sum(self._row_sizes()),
            frame=frame,
            document_frame=document_frame(self.tokenizer),
            overlap=data.document_overlap,
            word_starts=self.word_starts,
        )

    def _cut_blocks(self, stream: TokenStream, *, trains: bool) -> Blocks:
        training = self.config.training
        blocks = Blocks(
            stream,
            content=self._row_sizes()[0],
            frame=self.frame,
            keep_rest=not trains,  # a last, shorter block is evaluated, but not trained on
            word_starts=self.word_starts,
            following=training.carry_state,
        )
        if trains and not len(blocks):
            raise DataError(
                f"data.train: {len(stream):,} tokens remain for training, fewer than one block of "
                f"{blocks.content}; use more text or lower data.max_sequence_length"
            )
        if trains and self.config.data.packing == "streams":
            usable = usable_blocks(len(blocks), rows_per_step=training.rows_per_step)
            blocks.unread = len(blocks) - usable
        return blocks


def report_shared(name: str, stream: TokenStream, training: TokenStream, data: DataConfig) -> None:
    """Report how many documents of a text are in the training text too.

    Raises:
        DataError: there are some, and `data.shared_documents` is `error`.
    """
    shared = shared_documents(stream, training)
    if not shared:
        return
    verb = "is" if shared == 1 else "are"
    found = f"{shared:,} of the {stream.documents:,} documents of the {name} text {verb}"
    if data.shared_documents == "error":
        raise DataError(
            f"data.{name}: {found} in the training text too; remove them from one of the texts, or "
            "set data.shared_documents=drop"
        )
    level = logging.INFO if isinstance(data.train, LanguageSource) else logging.WARNING
    logger.log(level, "%s in the training text too", found)


def obtain_tokenizer(
    config: ExperimentConfig, training: Split, kept: Path | None = None, *, hashes: FileHashes
) -> tuple[PreTrainedTokenizerBase, str | Path]:
    """Load the tokenizer that an experiment names, or train it; a trained one is cached.

    Args:
        training: the text to train it on.
        kept: directory with the tokenizer of the run to be resumed; None: the run is new. It is
            not trained again, because some trainers do not give the same result twice.

    Returns:
        The tokenizer, and its directory or hub name.

    Raises:
        ConfigError: this text cannot meet a setting of the tokenizer.
        DataError: it cannot be loaded or trained, or does not fit the model.
    """
    if config.tokenizer.path is not None:
        return load_named_tokenizer(config.tokenizer), config.tokenizer.path
    if kept is not None:
        return load_tokenizer(kept), kept
    directory = train_in_cache(
        config.tokenizer,
        training,
        cache=config.data.cache,
        hashes=hashes,
        processes=processes_for(config.data.preprocessing_num_workers),
    )
    return load_tokenizer(directory), directory


def load_named_tokenizer(settings: TokenizerConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer that `settings.path` names.

    Raises:
        DataError: there is none, or its ids exceed the vocabulary that the experiment asks for.
    """
    tokenizer = load_tokenizer(str(settings.path))
    largest = max(tokenizer.get_vocab().values())
    if "vocab_size" in settings.model_fields_set and largest >= settings.vocab_size:
        raise DataError(
            f"{settings.path}: the tokenizer has ids up to {largest}, but tokenizer.vocab_size "
            f"(={settings.vocab_size}) gives the model ids below that; leave vocab_size out"
        )
    return tokenizer
