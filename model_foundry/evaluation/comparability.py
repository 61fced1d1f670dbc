"""Checks that a text has a loss, and that its bits per byte compare across tokenizers."""

from model_foundry.data.batches.loaders import Collator, evaluation_batches
from model_foundry.data.batches.rows import Rows
from model_foundry.errors import DataError
from model_foundry.objectives import Objective

MOST_UNKNOWN = 0.01  # share of a text, in bytes, that may be unknown
BATCH_ROWS = 32  # a training text with fewer rows may have targets in another pass


def unknown_share(rows: Rows) -> float:
    """Return the share of a text, in UTF-8 bytes, that becomes unknown tokens."""
    facts = rows.stream.facts
    return facts.unknown_bytes / facts.bytes if facts.bytes else 0.0


def not_comparable(rows: Rows) -> str | None:
    """Return the reason why bits per byte do not compare across tokenizers; None: they do."""
    share = unknown_share(rows)
    if share > MOST_UNKNOWN:
        return f"{share:.1%} of the text is unknown to the tokenizer"
    return None if rows.stream.facts.lossless else "the tokenizer loses characters"


def require_targets(name: str, rows: Rows, collator: Collator, objective: Objective) -> None:
    """Raise DataError for a text without a target; `name` is its key in `data`."""
    if name == "train" and len(rows) < BATCH_ROWS:
        return
    batches = evaluation_batches(rows, collator, batch_size=BATCH_ROWS)
    if any(bool(objective.scored(batch.inputs["labels"]).any()) for batch in batches):
        return
    unknown, tokens = rows.stream.facts.unknown, len(rows.stream)
    remedy = f"data.{name}"
    if name == "validation":
        remedy += " or data.validation_fraction"
    raise DataError(
        f"data.{name}: none of the {tokens:,} tokens of the {name} text ({unknown:,} of them "
        f"unknown to the tokenizer) is one that {type(objective).__name__} predicts, so there is "
        f"no loss; give more text ({remedy}), or a tokenizer that knows it"
    )
