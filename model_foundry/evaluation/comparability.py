"""Checks that a text has a loss, and that its bits per byte compare across tokenizers."""

from collections.abc import Callable

from torch import Tensor

from model_foundry.data.batches.loaders import Collate, evaluation_batches
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.errors import DataError
from model_foundry.evaluation.limits import MOST_UNKNOWN

BATCH_ROWS = 32  # a training text with fewer rows may have targets in another pass


def not_comparable(examples: TokenExamples) -> str | None:
    """Return the reason why bits per byte do not compare across tokenizers; None: they do."""
    share = examples.figures()["unknown_share"]
    if share > MOST_UNKNOWN:
        return f"{share:.1%} of the text is unknown to the tokenizer"
    return None if examples.stream.facts.lossless else "the tokenizer loses characters"


def require_targets(
    name: str,
    examples: TokenExamples,
    collate: Collate,
    count_targets: Callable[[dict[str, Tensor]], int],
    objective_name: str,
) -> None:
    """Raise DataError for a text without a target; `name` is its key in `data`."""
    if name == "train" and len(examples) < BATCH_ROWS:
        return
    batches = evaluation_batches(examples, collate, batch_size=BATCH_ROWS)
    if any(count_targets(batch.inputs) for batch in batches):
        return
    unknown, tokens = examples.stream.facts.unknown, len(examples.stream)
    remedy = f"data.{name}"
    if name == "validation":
        remedy += " or data.validation_fraction"
    raise DataError(
        f"data.{name}: none of the {tokens:,} tokens of the {name} text ({unknown:,} of them "
        f"unknown to the tokenizer) is one that {objective_name} predicts, so there is no loss; "
        f"give more text ({remedy}), or a tokenizer that knows it"
    )
