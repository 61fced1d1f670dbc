"""The results that commands print on standard output."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from model_foundry.foundation.messages import figure, figure_name
from model_foundry.foundation.shell_words import pasted

if TYPE_CHECKING:
    from model_foundry.doctor import Finding
    from model_foundry.evaluation.synthetic_language import LanguageReport
    from model_foundry.experiment.result import RunResult


@contextmanager
def announcer() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the current check, if there is a terminal."""
    with Console(stderr=True).status("reading the experiment") as status:
        yield lambda name: status.update(f"checking: {name}")


def finding_line(finding: "Finding") -> str:
    """Return one finding of the doctor as a line."""
    sign = {True: "good", False: "BAD", None: ""}[finding.good]
    return f"{sign:5}{finding.name:14}{finding.figure}"


def print_summary(result: "RunResult", plugins: Sequence[Path] | None = None) -> None:
    """Print the result of a run, the path of its model and a command to try next."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    figures = list(_figures(result))
    width = max(17, *(len(name) + 2 for name, _ in figures))
    lines = ["", *(f"{name:{width}}{value}" for name, value in figures)]
    if result.language is not None and result.language.minimal_pairs:
        lines += ["", *_language_lines(result.language)]
    is_best = result.best is None or result.best.step == result.step
    note = "" if is_best else f", after step {result.step}, the last"
    lines += ["", f"{'model':{width}}{result.model_dir}{note}"]
    if result.next_command:
        lines += [f"{'next':{width}}{_with_plugins(result.next_command, plugins or [])}"]
    for line in lines:
        console.print(line)


def _figures(result: "RunResult") -> Iterator[tuple[str, str]]:
    vocabulary = "" if result.vocab_size is None else f", vocabulary {result.vocab_size:,}"
    yield "size", f"{result.parameters:,} parameters{vocabulary}"
    for split, name in (("eval", "validation"), ("test", "test")):
        figures = {
            key.removeprefix(f"{split}/"): value
            for key, value in result.metrics.items()
            if key.startswith(f"{split}/")
        }
        yield from _text_figures(result, split, name, figures)
        for key, value in figures.items():
            yield f"{name} {figure_name(key)}", figure(value)
        if split in result.limited:
            yield "  limited", f"measured on {result.limited[split]}"
    if (best := result.best) is not None:
        kept = f", {result.output_dir / best.checkpoint}" if best.checkpoint else ""
        yield "best", f"{figure_name(best.metric)} {figure(best.value)} at step {best.step}{kept}"
    elif result.best_metric is not None:
        yield "best", f"none: {figure_name(result.best_metric)} was never finite"


def _text_figures(
    result: "RunResult", split: str, name: str, figures: dict[str, float]
) -> Iterator[tuple[str, str]]:
    """Yield the figures of a text in its units, and remove them from `figures`."""
    if result.generates is None:
        return
    figures.pop("unknown_share", None)
    unit = "" if result.loss_unit is None else f" {result.loss_unit}"
    if (loss := figures.pop("loss", None)) is not None:
        # of a sum of several losses, the exponential is no perplexity
        perplexity = figures.pop("perplexity", None) if unit else None
        shown = f" (perplexity {figure(perplexity, 2)})" if perplexity and result.generates else ""
        yield f"{name} loss", f"{figure(loss)}{unit}{shown}"
    if figures.pop("tokens", None) is None:
        return
    yield (
        "  bits per byte",
        _bits_per_byte(
            figures.pop("bits_per_byte", None), figures.pop("bits_per_byte_interval", None)
        ),
    )
    if split in result.not_comparable:
        yield "", f"not comparable: {result.not_comparable[split]}"
    elif not result.generates:
        yield "", "compare only with models that are masked in the same way"
    elif split == "eval" and (floor := result.language and result.language.floor_bits_per_byte):
        yield "  floor", f"{floor:.4f}, the entropy of the language"


def _bits_per_byte(value: float | None, interval: float | None) -> str:
    if value is None:
        return "none: the predicted tokens have no text"
    return figure(value) if interval is None else f"{figure(value)} ± {figure(interval)}"


def _language_lines(report: "LanguageReport") -> Iterator[str]:
    most = max(report.pairs.values())
    yield f"minimal pairs, {most} each: the good sentence is likelier (chance 50%)"
    for name, accuracy in report.minimal_pairs.items():
        number = report.pairs[name]
        fewer = "" if number == most else f"  ({number} pairs: the others are too long)"
        yield f"  {accuracy:6.1%}  {name}{fewer}"
    if report.sentences:
        yield ""
        yield "sentences of the model"
    for text, accepted in report.sentences:
        yield f"  {'grammatical  ' if accepted else 'ungrammatical'}  {text}"


def _with_plugins(command: str, plugins: Sequence[Path]) -> str:
    """Return a command for a shell; one of `foundry` names the plugins."""
    given = dict.fromkeys(plugins) if command.startswith("foundry ") else ()
    return command + "".join(f" --plugin {pasted(plugin)}" for plugin in given)
