"""Names that a user may have meant."""

from collections.abc import Sequence

from model_foundry.registry import nearest

MOST = 3


def suggested(name: str, known: Sequence[str]) -> str:
    """Return a question about the known names that end with `name`, or the nearest; else nothing.

    `loss` ends `train/loss` and `eval/loss`, `learning_rate` ends `training.learning_rate`.
    """
    ending = [each for each in known if each.endswith((f".{name}", f"/{name}"))][:MOST]
    close = nearest(name, list(known))
    meant = ending or ([close] if close else [])
    return f"did you mean {' or '.join(map(repr, meant))}?" if meant else ""
