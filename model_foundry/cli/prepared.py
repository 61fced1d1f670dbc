"""The output of `foundry prepare`."""

from collections.abc import Iterator
from pathlib import Path

from model_foundry.corpus_report.cache_usage import Place, place_of
from model_foundry.experiment.prepare_data import Prepared


def preparation_lines(prepared: Prepared, *, before: dict[Path, int]) -> Iterator[str]:
    """Yield what was prepared, its place, and whether it is new.

    Args:
        before: the content of the cache before, see `look_into`.
    """
    source = prepared.tokenizer_source
    yield f"tokenizer: {len(prepared.tokenizer):,} entries"
    if isinstance(source, Path):
        yield _where(place_of(source, before=before))
    else:
        yield f"  {source}, from tokenizer.path"
    texts = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    for name, rows in texts.items():
        if rows is not None:
            yield f"{name}: {rows.describe()}"
            yield _where(place_of(rows.stream, before=before))


def _where(place: Place) -> str:
    state = "new" if place.is_new else "already cached"
    return f"  {place.directory} ({place.bytes:,} bytes, {state})"
