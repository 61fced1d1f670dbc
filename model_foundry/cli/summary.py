"""The results that commands print on standard output."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from model_foundry.foundation.messages import figure, figure_name
from model_foundry.foundation.shell_words import pasted
from model_foundry.run_reports.figure_texts import value_text

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
    lines, width = _figure_lines(result)
    if result.language is not None and result.language.minimal_pairs:
        lines += ["", *_language_lines(result.language)]
    lines += ["", *_model_lines(result, width)]
    if result.next_command:
        lines += [f"{'next':{width}}{_with_plugins(result.next_command, plugins or [])}"]
    _print(["", *lines])


def print_figures(result: "RunResult") -> None:
    """Print the figures of a run and the path of its model."""
    lines, width = _figure_lines(result)
    _print([*lines, *_model_lines(result, width)])


def result_record(result: "RunResult") -> dict[str, Any]:
    """Return the result of a run as plain data."""
    best, language = result.best, result.language
    return {
        "output_dir": str(result.output_dir),
        "model_dir": str(result.model_dir),
        "averaged_model_dir": result.averaged_model_dir and str(result.averaged_model_dir),
        "model_step": result.model_step,
        "stopped": result.stopped,
        "step": result.step,
        "parameters": result.parameters,
        "metrics": result.metrics,
        "best": None if best is None else asdict(best),
        "not_comparable": dict(result.not_comparable),
        "language": None if language is None else language.as_json(),
        "next_command": result.next_command,
    }


def _print(lines: Iterable[str]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for line in lines:
        console.print(line)


def _figure_lines(result: "RunResult") -> tuple[list[str], int]:
    """Return a line for each figure, and the width of their labels."""
    figures = list(_figures(result))
    width = max(17, *(len(name) + 2 for name, _ in figures))
    return [f"{name:{width}}{value}" for name, value in figures], width


def _model_lines(result: "RunResult", width: int) -> Iterator[str]:
    yield f"{'model':{width}}{result.model_dir}{_step_of_the_model(result)}"
    if result.averaged_model_dir is not None:
        yield f"{'  average':{width}}{result.averaged_model_dir}"


def _step_of_the_model(result: "RunResult") -> str:
    """Return a note on the step of the final model where there is a better or a later one."""
    if result.model_step is not None:
        return f", after step {result.model_step}, the best"
    is_best = result.best is None or result.best.step == result.step
    return "" if is_best else f", after step {result.step}, the last"


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
            yield f"{name} {figure_name(key)}", value_text(key, value)
        if split in result.limited:
            yield "  limited", f"measured on {result.limited[split]}"
    if (best := result.best) is not None:
        kept = f", {result.output_dir / best.checkpoint}" if best.checkpoint else ""
        yield "best", f"{figure_name(best.metric)} {figure(best.value)} at step {best.step}{kept}"
    elif result.best_metric is not None:
        yield "best", f"none: {figure_name(result.best_metric)} was never finite"
    if result.stopped is not None:
        yield "end", result.stopped


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
