"""What training reads, made from an experiment: tokenizer, objective, blocks of each split.

documents -> tokenizer -> token streams -> blocks. Writes to the cache only.
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
    """It frames a text as the objective does."""
    tokenizer_source: str | Path
    """Directory of the tokenizer, or its name on a hub."""
    objective: Objective
    collator: Collator
    """For training."""
    evaluating: Collator
    """The same with the masks of evaluations, which a study over seeds has in common."""
    train: Rows
    validation: Rows
    test: Rows | None
    """None where the experiment names no test text."""
    lossless: bool
    """Whether the tokenizer gives every character back."""

    @property
    def content(self) -> dict[str, str]:
        """SHA-256 of everything that training and its evaluations read."""
        return {
            "training text": self.train.stream.text_sha256,
            "validation text": self.validation.stream.text_sha256,
            "tokenizer": tokenizer_hash(self.tokenizer),
        }


def prepare(config: ExperimentConfig, *, kept: Path | None = None) -> Prepared:
    """Read, tokenise and cut the corpus of an experiment.

    Args:
        kept: directory with the tokenizer that a run was begun with; None: the run begins.

    Raises:
        ConfigError: a setting of the tokenizer cannot be met on this text.
        DataError: the corpus or the tokenizer cannot be used.
        Interrupted: a signal came.
    """
    check_interrupt()  # where all is there already, nothing below would ask
    prepare_ai_steps(config.data.interventions)
    hashes = FileHashes(config.data.cache)
    processes = processes_for(config.data.preprocessing_num_workers)
    splits = open_texts(config)
    tokenizer, source = obtain_tokenizer(config, splits.train, kept, hashes=hashes)
    objective, collator = objective_for(config, tokenizer)
    tokenizer = framed(tokenizer, objective.frame(tokenizer))

    def rows(split: Split, without: TokenStream | None = None) -> Rows:
        stream = tokenize_split(
            split,
            tokenizer,
            cache=config.data.cache,
            hashes=hashes,
            processes=processes,
            without=without,
        )
        trains = split.name == "train"
        cut = rows_of(stream, config, tokenizer, objective, trains=trains)
        logger.info("%s: %s", split.name, cut.describe())
        return cut

    train = rows(splits.train)
    drops = config.data.shared_documents == "drop"
    others = {
        split.name: rows(split, train.stream if drops else None)
        for split in (splits.validation, splits.test)
        if split is not None
    }
    for name, other in others.items():
        report_shared(name, other.stream, train.stream, config.data)
    prepared = Prepared(
        tokenizer=tokenizer,
        tokenizer_source=source,
        objective=objective,
        collator=collator,
        evaluating=objective.collator(_as_evaluated(config), tokenizer),
        train=train,
        validation=others["validation"],
        test=others.get("test"),
        lossless=others["validation"].stream.facts.lossless,
    )
    for name, text in {"train": train, **others}.items():
        require_targets(name, text, collator, objective)
        if reason := not_comparable(text):
            logger.warning(
                "%s: %s, so its bits per byte cannot be compared with those of another tokenizer",
                *(name, reason),
            )
    return prepared


def _as_evaluated(config: ExperimentConfig) -> ExperimentConfig:
    """Return an experiment whose masks follow from the seed of the split."""
    seeds = config.seeds.model_copy(update={"data": config.seeds.split})
    return config.model_copy(update={"seed": seeds})


def open_texts(config: ExperimentConfig) -> Splits:
    """Open the texts of an experiment; next to nothing is read.

    Raises:
        DataError: a source does not exist, or a tokenizer that counts a budget.
    """
    count = None
    if config.tokenizer.path is not None and config.data.counts_tokens:
        count = Encoder(load_named_tokenizer(config.tokenizer)).count
    return open_splits(config.data, seed=config.seeds.split, count_tokens=count)


def _require_a_block(blocks: Blocks) -> None:
    if not len(blocks):
        raise DataError(
            f"data.train: {len(blocks.stream):,} tokens remain for training, fewer than one block "
            f"of {blocks.content}; use more text or lower data.max_sequence_length"
        )


def rows_of(
    stream: TokenStream,
    config: ExperimentConfig,
    tokenizer: PreTrainedTokenizerBase,
    objective: Objective,
    *,
    trains: bool,
) -> Rows:
    """Cut a stream into the rows that an experiment reads.

    Args:
        trains: whether they are trained on; if not, a last, shorter row counts too.

    Raises:
        DataError: there are too few to train on.
    """
    data, frame = config.data, objective.frame(tokenizer)
    word_starts = objective.needs_word_starts(config)
    framing = OBJECTIVES[config.training.objective].framing_tokens
    content = data.content_tokens or data.max_sequence_length - framing
    if data.packing == "documents":
        if not any(frame) and not document_frame(tokenizer)[0]:
            logger.warning(
                "the tokenizer puts no token of its own before a document, so that in rows of "
                "documents the first token of each is never predicted, and scores and generation "
                "begin behind a token that the model has never read; use data.packing=blocks, or "
                "a tokenizer with a bos token in its template"
            )
        return DocumentRows(
            stream,
            length=content + framing,
            frame=frame,
            document_frame=document_frame(tokenizer),
            overlap=data.document_overlap,
            word_starts=word_starts,
        )
    blocks = Blocks(
        stream,
        content=content,
        frame=frame,
        keep_rest=not trains,
        word_starts=word_starts,
        following=config.training.carry_state,
    )
    if trains:
        _require_a_block(blocks)
        if data.packing == "streams":
            usable = usable_blocks(len(blocks), rows_per_step=config.training.rows_per_step)
            blocks.unread = len(blocks) - usable
    return blocks


def report_shared(name: str, stream: TokenStream, training: TokenStream, data: DataConfig) -> None:
    """Say how many documents of a text stand in the training text as well.

    Raises:
        DataError: there are some, and `data.shared_documents` is `error`.
    """
    shared = shared_documents(stream, training)
    if not shared:
        return
    said = f"{shared:,} of the {stream.documents:,} documents of the {name} text"
    stand = "stands" if shared == 1 else "stand"
    if data.shared_documents == "error":
        raise DataError(
            f"data.{name}: {said} {stand} in the training text as well; take them out of one, or "
            "set data.shared_documents=drop"
        )
    level = logging.INFO if isinstance(data.train, LanguageSource) else logging.WARNING
    logger.log(level, "%s %s in the training text as well", said, stand)


def obtain_tokenizer(
    config: ExperimentConfig, training: Split, kept: Path | None = None, *, hashes: FileHashes
) -> tuple[PreTrainedTokenizerBase, str | Path]:
    """Load the tokenizer that an experiment names, or train it (once: the result is cached).

    Args:
        training: the text to train it on.
        kept: directory with the one that was trained at the begin of a run; None: there is none. It
            is not trained again, because not every trainer gives the same result twice.

    Returns:
        The tokenizer, and where it is kept.

    Raises:
        ConfigError: a setting of the tokenizer cannot be met on this text.
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
