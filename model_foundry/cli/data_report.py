"""The output of `foundry data`. Corpus text is escaped before it reaches the terminal."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from model_foundry.cli.histogram import median_text, save_histogram
from model_foundry.corpus_report import CorpusReport, SplitFigures
from model_foundry.corpus_report.samples import BORDER
from model_foundry.errors import SaveError
from model_foundry.foundation.atomic_files import write_text
from model_foundry.foundation.messages import printable
from model_foundry.foundation.strict_json import strict_json
from model_foundry.interventions.report import Report, StepReport

LONGEST_ROW, LONGEST_TOKEN = 400, 30  # characters
BEFORE_THE_SPLIT = {"blank documents", "beyond the budget"}
BAR = 24  # columns of the longest bar, so that 80 hold three texts
Row = tuple[str, list[str]]


def shortened(text: str, longest: int) -> str:
    """Return a text escaped, and cut with a mark if too long."""
    safe = printable(text)
    return safe if len(safe) <= longest else f"{safe[:longest]}… ({len(safe) - longest:,} more)"


def print_report(report: CorpusReport, *, examples: bool = False) -> None:
    """Print all figures of a corpus.

    Args:
        examples: show what each step did to single documents.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    for part in _parts(report, examples):
        console.print(part, soft_wrap=isinstance(part, str))


def _parts(report: CorpusReport, examples: bool) -> Iterator[str | Table]:
    splits = report.splits
    yield from ("", _split_table("corpus", splits, _corpus_rows(report)))
    if report.same_source and any(BEFORE_THE_SPLIT & split.left_out.keys() for split in splits):
        yield "what is left out before train and validation are split counts for both"
    for split in splits:
        if split.not_comparable:
            yield f"{split.name}: bits per byte not comparable: {split.not_comparable}"
    yield from ("", _split_table("one pass", splits, _pass_rows(report)))
    yield f"rows: {_shapes(splits)}"
    yield f"predicted: {report.predicted}"
    for split in splits:
        if split.interventions:
            yield from ("", _intervention_table(split))
    yield from ("", _length_table(report))
    yield from ("", *_vocabulary_tables(report))
    yield from ("", *_samples(report))
    if examples:
        yield from _examples(splits)


def save_report(report: CorpusReport, directory: Path) -> list[str]:
    """Write `data.json` and `document_lengths.png`; return the lines that report it.

    Raises:
        SaveError: they cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"{directory}: cannot be created ({error.strerror}).") from error
    figures, picture = directory / "data.json", directory / "document_lengths.png"
    write_text(figures, strict_json(report.as_json(), indent=1) + "\n")
    save_histogram(report, picture)
    return ["", f"figures   {figures}", f"picture   {picture}"]


def _plain_table(*headings: str, left: int = 1) -> Table:
    """Return a table without borders whose first `left` columns are left-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < left else "right", overflow="fold")
    return table


def _split_table(title: str, splits: Sequence[SplitFigures], rows: Iterator[Row]) -> Table:
    table = _plain_table(title, *(split.name for split in splits))
    for label, cells in rows:
        table.add_row(label, *cells)
    return table


def _each(splits: Sequence[SplitFigures], label: str, figure: Callable[[SplitFigures], Any]) -> Row:
    return label, [_cell(figure(split)) for split in splits]


def _by_reason(
    splits: Sequence[SplitFigures], label: str, counts: Callable[[SplitFigures], dict[str, int]]
) -> Iterator[Row]:
    for reason in dict.fromkeys(reason for split in splits for reason in counts(split)):
        yield f"{label}{reason}", [_cell(counts(split).get(reason, 0)) for split in splits]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3%}"


def _steps(split: SplitFigures) -> Iterator[tuple[str, StepReport]]:
    """Yield the steps of a text, each with its number in `data.interventions` and its name."""
    steps = Report.from_json(split.interventions).steps
    for number, step in zip(split.step_numbers, steps, strict=True):
        yield f"{number} {printable(step.step)}", step


def _left_out(split: SplitFigures) -> dict[str, int]:
    """Return the number of excluded documents by reason, including interventions."""
    dropped = {f"by step {label}": step.dropped for label, step in _steps(split)}
    return split.left_out | {reason: count for reason, count in dropped.items() if count}


def _source_rows(splits: Sequence[SplitFigures]) -> Iterator[Row]:
    for name in dict.fromkeys(source["name"] for split in splits for source in split.sources):
        yield f"  from {printable(name)}", [_cell(s.taken_from(name)) for s in splits]


def _corpus_rows(report: CorpusReport) -> Iterator[Row]:
    splits = report.splits
    yield _each(splits, "documents", lambda s: s.documents)
    yield from _source_rows(splits)
    yield from _by_reason(splits, "  left out: ", _left_out)
    if any(split.shared for split in splits):
        shared = [_cell(None if split.name == "train" else split.shared) for split in splits]
        yield "also in the training text", shared
    yield _each(splits, "words", lambda s: s.words)
    yield _each(splits, "bytes", lambda s: s.bytes)
    if any(split.replaced for split in splits):
        yield _each(splits, "  replaced in all that was read", lambda s: s.replaced)
    yield _each(splits, "tokens of text", lambda s: s.text_tokens)
    yield _each(splits, "  tokens per word", lambda s: s.ratios["tokens_per_word"])
    yield _each(splits, "  bytes per token", lambda s: s.ratios["bytes_per_token"])
    yield "  unknown tokens", [_share(s.ratios["unknown_share_of_tokens"]) for s in splits]
    if any(split.unknown_tokens for split in splits):
        yield "  unknown bytes", [_share(s.ratios["unknown_share_of_bytes"]) for s in splits]
        yield "  unknown words", [_share(s.ratios["unknown_share_of_words"]) for s in splits]
    yield _each(splits, "lossless", lambda s: s.lossless)


def _pass_rows(report: CorpusReport) -> Iterator[Row]:
    splits = report.splits
    yield _each(splits, "tokens of framed documents", lambda s: s.tokens.framed)
    yield from _by_reason(splits, "  - left over: ", lambda s: s.tokens.left_over)
    if any(split.tokens.repeated for split in splits):
        yield _each(splits, "  + repeated as context", lambda s: s.tokens.repeated)
    yield _each(splits, "  = in rows", lambda s: s.tokens.in_rows)
    if any(split.tokens.framing for split in splits):
        yield _each(splits, "  + put around rows or documents", lambda s: s.tokens.framing)
    yield _each(splits, "rows", lambda s: s.tokens.rows)
    yield _each(splits, "predicted", lambda s: s.predicted)


def _shapes(splits: Sequence[SplitFigures]) -> str:
    if len({split.tokens.shape for split in splits}) == 1:
        return splits[0].tokens.shape
    return ", ".join(f"{split.name} {split.tokens.shape}" for split in splits)


def _intervention_table(split: SplitFigures) -> Table:
    table = _plain_table(
        *(f"{split.name}: step", "documents", "changed", "dropped"),
        *("words\nbefore", "words\nafter", "sentences\nremoved"),
    )
    for label, step in _steps(split):
        counts = (step.documents, step.changed, step.dropped)
        rest = (step.words_before, step.words_after, step.sentences_removed)
        table.add_row(label, *map(_cell, counts + rest))
    return table


def _length_table(report: CorpusReport) -> Table:
    heads = [(s.name, "") if s.name == "train" else (s.name,) for s in report.splits]
    table = _plain_table("tokens in a document", *(name for head in heads for name in head))
    table.columns[2].justify = "left"
    most = max(report.splits[0].lengths.histogram)
    for number, (first, end) in enumerate(pairwise(report.length_edges)):
        counts = [split.lengths.histogram[number] for split in report.splits]
        label = f"{first:,}" if end == first + 1 else f"{first:,} to {end - 1:,}"
        bar = Bar(most, 0, counts[0], width=BAR)
        table.add_row(label, _cell(counts[0]), bar, *map(_cell, counts[1:]))
    for name in ("shortest", "median", "mean", "longest"):
        figures = [getattr(split.lengths, name) for split in report.splits]
        cells = [median_text(figure) if name == "median" else _cell(figure) for figure in figures]
        table.add_row(name, cells[0], "", *cells[1:])
    return table


def _vocabulary_tables(report: CorpusReport) -> Iterator[str | Table]:
    known = report.vocabulary
    counts = _plain_table("vocabulary", "")
    counts.add_row("entries", _cell(known.size))
    counts.add_row("  not special", _cell(known.ordinary))
    counts.add_row("  of these, in the training text", _cell(known.used))
    counts.add_row("  fewest that make up 90% of it", _cell(known.bulk))
    table = _plain_table("most frequent", "id", "times", "share")
    for token in known.most_frequent:
        text = shortened(token.text, LONGEST_TOKEN)
        table.add_row(text, str(token.id), _cell(token.count), f"{token.share:.2%}")
    yield from (counts, "", table)


def _samples(report: CorpusReport) -> Iterator[str]:
    yield "rows of the training text, as the model reads them in the first pass"
    if report.packing == "documents":
        yield f"{BORDER.strip()} separates documents that do not see each other"
    for sample in report.samples:
        yield f"row {sample.index:,}: {shortened(sample.text, LONGEST_ROW)}"


def _examples(splits: Sequence[SplitFigures]) -> Iterator[str]:
    for split in splits:
        for label, step in _steps(split):
            settings = shortened(json.dumps(step.settings), LONGEST_ROW) if step.settings else ""
            yield from ("", f"{split.name}: step {label} {settings}".rstrip())
            for example in step.examples:
                after = "(left out)" if example.after is None else printable(example.after)
                yield f"document {example.index:,}"
                yield f"  before  {printable(example.before)}"
                yield f"  after   {after}"
            if not step.examples:
                yield "it changed nothing"
