"""What training reads, made from an experiment: tokenizer, objective, blocks of each split.

documents -> tokenizer -> token streams -> blocks. Writes to the cache only.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from model_foundry.config import OBJECTIVES, ExperimentConfig, TokenizerConfig
from model_foundry.data.blocks import Blocks
from model_foundry.data.encoding import is_lossless
from model_foundry.data.packing import stream_of, tokenizer_hash
from model_foundry.data.sources.files import read_splits
from model_foundry.data_collators import Collator
from model_foundry.errors import DataError
from model_foundry.objectives import Objective
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import train_in_cache

logger = logging.getLogger(__name__)

LOSSLESS_SAMPLE = 200  # documents that are decoded again to see whether the tokenizer loses text


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that training reads."""

    tokenizer: PreTrainedTokenizerBase
    tokenizer_source: str | Path
    """Directory of the tokenizer, or its name on a hub."""
    objective: Objective
    collator: Collator
    train: Blocks
    validation: Blocks
    test: Blocks | None
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
    """
    splits = read_splits(config.data, seed=config.seeds.data)
    tokenizer, source = obtain_tokenizer(config, splits.train, kept)
    objective, collator = objective_for(config, tokenizer)
    content = config.data.content_tokens or (
        config.data.max_sequence_length - OBJECTIVES[config.training.objective].framing_tokens
    )

    def blocks(name: str, documents: list[str]) -> Blocks:
        stream = stream_of(documents, tokenizer, cache=config.data.cache)
        frame = objective.frame(tokenizer)
        cut = Blocks(stream, content=content, frame=frame, keep_rest=name != "train")
        logger.info("%s: %s", name, cut.describe())
        return cut

    prepared = Prepared(
        tokenizer=tokenizer,
        tokenizer_source=source,
        objective=objective,
        collator=collator,
        train=blocks("train", splits.train),
        validation=blocks("validation", splits.validation),
        test=blocks("test", splits.test) if splits.test else None,
        lossless=is_lossless(tokenizer, splits.validation[:LOSSLESS_SAMPLE]),
    )
    _require_a_block(prepared.train)
    if not prepared.lossless:
        logger.warning(
            "the tokenizer does not give every character back, so its bits per byte cannot be "
            "compared with those of another tokenizer"
        )
    return prepared


def obtain_tokenizer(
    config: ExperimentConfig, documents: list[str], kept: Path | None = None
) -> tuple[PreTrainedTokenizerBase, str | Path]:
    """Load the tokenizer that an experiment names, or train it (once: the result is cached).

    Args:
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
    directory = train_in_cache(config.tokenizer, documents, cache=config.data.cache)
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


def _require_a_block(blocks: Blocks) -> None:
    if not len(blocks):
        raise DataError(
            f"data.train: {len(blocks.stream)} tokens remain for training, fewer than one block of "
            f"{blocks.content}; use more text or lower data.max_sequence_length"
        )
