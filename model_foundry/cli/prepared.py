"""The output of `foundry prepare`."""

from collections.abc import Iterator
from pathlib import Path

from model_foundry.corpus_report.cache_usage import Place, place_of
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.objectives import Prepared
from model_foundry.objectives.processors import TextTokenizer


def preparation_lines(prepared: Prepared, *, before: dict[Path, int]) -> Iterator[str]:
    """Yield what was prepared, its place, and whether it is new.

    Args:
        before: the content of the cache before, see `look_into`.
    """
    for role, processor in prepared.processors.items():
        yield f"{role}: {processor.describe()}"
        if not isinstance(processor, TextTokenizer):
            continue
        if isinstance(processor.source, Path):
            yield _where(place_of(processor.source, before=before))
        else:
            yield f"  {processor.source}, from tokenizer.path"
    for name, examples in prepared.splits.items():
        yield f"{name}: {examples.describe()}"
        if isinstance(examples, TokenExamples):
            yield _where(place_of(examples.stream, before=before))


def _where(place: Place) -> str:
    state = "new" if place.is_new else "already cached"
    return f"  {place.directory} ({place.bytes:,} bytes, {state})"
