"""Figures of training and evaluations as labelled text, for lines and panels alike.

Only what needs a form or a place of its own is named here; every other figure is shown under its
own name.
"""

from collections.abc import Iterator, Mapping

from model_foundry.evaluation.limits import MOST_UNKNOWN
from model_foundry.foundation.messages import AVERAGED, LARGE, figure, figure_name
from model_foundry.run_reports.run_view import Evaluation, RunView

UNITS = {"tokens": "tok"}
PLACED = ("loss", "learning_rate", "grad_norm", "peak_memory_mib")  # have a place of their own
COUNTED = ("_seen", "_per_second")
COUNT = 100  # from here on, a whole number is a count
UNKNOWN_SHARE = "unknown_share"


def value_text(name: str, value: float) -> str:
    """Return a figure with the decimal places of its kind."""
    name = name.removeprefix(AVERAGED)
    if name == "learning_rate":
        return f"{value:.2e}"
    if value.is_integer() and COUNT <= abs(value) < LARGE:
        return f"{value:,.0f}"
    return figure(value, 2 if name in ("perplexity", "grad_norm") else 4)


def speed_text(view: RunView, *, short: bool = False) -> str | None:
    """Return the speed with its unit; None: it is not known."""
    if (speed := view.speed()) is None:
        return None
    value, unit = speed
    return f"{value:,.0f} {UNITS.get(unit, unit) if short else unit}/s"


def other_figures(view: RunView) -> Iterator[tuple[str, float]]:
    """Yield the figures of training that have no place of their own: parts of the loss, metrics."""
    for name, value in view.train.items():
        if name not in PLACED and name not in view.facts.details and not name.endswith(COUNTED):
            yield name, value


def shown_figures(
    evaluation: Evaluation, view: RunView, *, kind: str = "eval"
) -> Iterator[tuple[str, float]]:
    """Yield the figures of an evaluation, first the one that decides which is the best."""
    best = view.facts.best_metric
    hidden = {*view.facts.details, UNKNOWN_SHARE}
    names = [name for name in evaluation.values if name not in hidden]
    if kind == "eval" and best in names:
        names = [best, *(name for name in names if name != best)]
    return ((name, evaluation.values[name]) for name in names)


def note_on_unknown_text(values: Mapping[str, float]) -> str:
    """Return a note where much of the text is unknown to the tokenizer; else nothing."""
    unknown = values.get(UNKNOWN_SHARE, 0.0)
    return f"  ({unknown:.1%} of the text unknown)" if unknown > MOST_UNKNOWN else ""


def kind_name(kind: str) -> str:
    """Return the label of a kind of evaluation."""
    return "evaluation" if kind == "eval" else figure_name(kind)


def change_text(name: str, evaluation: Evaluation) -> str:
    """Return the change of a figure against the evaluation before; empty: there was none."""
    if name not in evaluation.before:
        return ""
    change = evaluation.values[name] - evaluation.before[name]
    return f"{'+' if change >= 0 else ''}{value_text(name, change)}"


def improves(view: RunView, evaluation: Evaluation) -> bool | None:
    """Return True if the metric that decides improved, and None if it did not change."""
    name = view.facts.best_metric
    if name not in evaluation.before or name not in evaluation.values:
        return None
    change = evaluation.values[name] - evaluation.before[name]
    if not change:
        return None
    return (change > 0) == view.facts.greater_is_better
