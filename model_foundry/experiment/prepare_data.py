"""The data of an experiment: tokenizer, objective, and the rows of each split.

documents -> tokenizer -> token streams -> rows. Writes to the cache only.
"""

import logging
from dataclasses import dataclass
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
from model_foundry.data.batches.rows import Blocks, DocumentRows, Rows
from model_foundry.data.corpus.splits import Split, Splits, open_splits
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.encoding import Encoder
from model_foundry.data.tokens.overlap import shared_documents
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.data.tokens.tokenize import tokenize_split, tokenizer_hash
from model_foundry.data_collators import Collator
from model_foundry.errors import DataError
from model_foundry.evaluation.comparability import not_comparable, require_targets
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.process_pool import processes_for
from model_foundry.interventions.ai_step.step import prepare_ai_steps
from model_foundry.objectives import Objective
from model_foundry.tokenizer.framing import framed
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import train_in_cache

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that training reads."""

    tokenizer: PreTrainedTokenizerBase
    """Frames a text as the objective does."""
    tokenizer_source: str | Path
    """Directory of the tokenizer, or its name on a hub."""
    objective: Objective
    collator: Collator
    """For training."""
    evaluating: Collator
    """For evaluation; its masks are the same for all seeds of a study."""
    train: Rows
    validation: Rows
    test: Rows | None
    """None: the experiment has no test text."""
    lossless: bool
    """True if the tokenizer restores every character."""

    @property
    def content(self) -> dict[str, str]:
        """SHA-256 of everything that training and its evaluations read."""
        return {
            "training text": self.train.stream.text_sha256,
            "validation text": self.validation.stream.text_sha256,
            "tokenizer": tokenizer_hash(self.tokenizer),
        }


def prepare(config: ExperimentConfig, *, kept: Path | None = None) -> Prepared:
    """Read, tokenize and cut the corpus of an experiment.

    Args:
        kept: directory with the tokenizer of the run to be resumed; None: the run is new.

    Raises:
        ConfigError: this text cannot meet a setting of the tokenizer.
        DataError: the corpus or the tokenizer cannot be used.
        Interrupted: a signal came.
    """
    check_interrupt()  # with everything in the cache, nothing below would check
    prepare_ai_steps(config.data.interventions)
    hashes = FileHashes(config.data.cache)
    splits = open_texts(config)
    tokenizer, source = obtain_tokenizer(config, splits.train, kept, hashes=hashes)
    objective, collator = objective_for(config, tokenizer)
    tokenizer = framed(tokenizer, objective.frame(tokenizer))
    reader = RowReader(config, tokenizer, objective, hashes)
    train = reader.read(splits.train)
    without = train.stream if config.data.shared_documents == "drop" else None
    validation = reader.read(splits.validation, without)
    test = None if splits.test is None else reader.read(splits.test, without)
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        if rows is not None:
            _check_rows(name, rows, train, config.data)
            require_targets(name, rows, collator, objective)
    return Prepared(
        tokenizer=tokenizer,
        tokenizer_source=source,
        objective=objective,
        collator=collator,
        evaluating=objective.collator(_with_evaluation_seed(config), tokenizer),
        train=train,
        validation=validation,
        test=test,
        lossless=validation.stream.facts.lossless,
    )


def _with_evaluation_seed(config: ExperimentConfig) -> ExperimentConfig:
    """Return an experiment whose masks follow from the seed of the split."""
    seeds = config.seeds.model_copy(update={"data": config.seeds.split})
    return config.model_copy(update={"seed": seeds})


def _check_rows(name: str, rows: Rows, train: Rows, data: DataConfig) -> None:
    """Report documents shared with the training text, and figures that cannot be compared."""
    if rows is not train:
        report_shared(name, rows.stream, train.stream, data)
    if reason := not_comparable(rows):
        logger.warning(
            "%s: %s, so its bits per byte cannot be compared with those of another tokenizer",
            *(name, reason),
        )


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
class RowReader:
    """Tokenizes the texts of an experiment, and cuts them into rows."""

    config: ExperimentConfig
    tokenizer: PreTrainedTokenizerBase
    objective: Objective
    hashes: FileHashes

    def read(self, split: Split, without: TokenStream | None = None) -> Rows:
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

    def cut(self, stream: TokenStream, *, trains: bool) -> Rows:
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

    def _pack_documents(self, stream: TokenStream) -> DocumentRows:
        data, frame = self.config.data, self.objective.frame(self.tokenizer)
        if not any(frame) and not document_frame(self.tokenizer)[0]:
            logger.warning(
                "the tokenizer puts no token of its own before a document, so that in rows of "
                "documents the first token of each is never predicted, and scores and generation "
                "start after a token that the model has never read; use data.packing=blocks, or a "
                "tokenizer with a bos token in its template"
            )
        return DocumentRows(
            stream,
            length=sum(self._row_sizes()),
            frame=frame,
            document_frame=document_frame(self.tokenizer),
            overlap=data.document_overlap,
            word_starts=self.objective.needs_word_starts(self.config),
        )

    def _cut_blocks(self, stream: TokenStream, *, trains: bool) -> Blocks:
        training = self.config.training
        blocks = Blocks(
            stream,
            content=self._row_sizes()[0],
            frame=self.objective.frame(self.tokenizer),
            keep_rest=not trains,  # a last, shorter block is evaluated, but not trained on
            word_starts=self.objective.needs_word_starts(self.config),
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


def objective_for(
    config: ExperimentConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[Objective, Collator]:
    """Return the objective of an experiment and its collator.

    Raises:
        DataError: the tokenizer lacks a token that the objective needs.
    """
    objective: Objective = OBJECTIVES.load(config.training.objective)()
    objective.frame(tokenizer)
    return objective, objective.collator(config, tokenizer)
