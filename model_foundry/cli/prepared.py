"""What `foundry prepare` prints."""

from collections.abc import Iterator
from pathlib import Path

from model_foundry.corpus_report.cache_usage import Place, place_of
from model_foundry.experiment.prepare_data import Prepared


def preparation_lines(prepared: Prepared, *, before: dict[Path, int]) -> Iterator[str]:
    """Yield what was prepared, where it lies, and whether it was made now.

    Args:
        before: what the cache held until then, see `look_into`.
    """
    source = prepared.tokenizer_source
    yield f"tokenizer: {len(prepared.tokenizer):,} entries"
    if isinstance(source, Path):
        yield _where(place_of(source, before=before))
    else:
        yield f"  {source}, which tokenizer.path names"
    texts = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    for name, rows in texts.items():
        if rows is not None:
            yield f"{name}: {rows.describe()}"
            yield _where(place_of(rows.stream, before=before))


def _where(place: Place) -> str:
    state = "made now" if place.is_new else "already there"
    return f"  {place.directory} ({place.bytes:,} bytes, {state})"
