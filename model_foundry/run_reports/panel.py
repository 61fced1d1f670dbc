"""The panel of a run: a box on wide terminals, a few bare lines on narrow ones."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from model_foundry.foundation.messages import figure_name, printable
from model_foundry.run_reports.figure_texts import (
    change_text,
    improves,
    kind_name,
    note_on_unknown_text,
    other_figures,
    shown_figures,
    speed_text,
    value_text,
)
from model_foundry.run_reports.run_view import Evaluation, RunView
from model_foundry.run_reports.text_forms import ago, duration, memory_size, sparkline, time_left

NARROW, WIDE = 60, 120  # columns below which there is no box, and from which there are two columns
MARGIN = 2  # columns kept free at the right, for the ^C that a terminal echoes
LABEL = 14
SHORTEST_BAR = SHORTEST_CURVE = 8
BETWEEN = "   "
DIM, BOLD, BETTER, WORSE = "dim", "bold", "green", "red"
BAR, ASCII_BAR = ("━", "─"), ("#", "-")
STATES = {"completed": BETTER, "failed": WORSE, "killed": WORSE, "interrupted": "yellow"}
VERDICTS: dict[bool | None, tuple[str, str]] = {
    True: (" better", BETTER),
    False: (" worse", WORSE),
    None: ("", DIM),
}

Item = Text
Row = tuple[str, list[Item]]


@dataclass
class RunPanel:
    """A run as a rich renderable, as wide as its console allows."""

    view: RunView
    footer: str = ""
    """A hint for the lower edge."""
    now: Callable[[], float] = field(default=time.time)
    """Seconds since the epoch."""
    drawn: list[int] = field(default_factory=list)
    """Cells in each line of the last drawing."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - MARGIN
        pen = _Pen(self.view, self.now(), ascii_only=options.ascii_only)
        if options.max_width < NARROW:
            lines = [_clipped(line, width) for line in _compact(pen, width)]
        else:
            lines = list(_boxed(pen, width, self.footer))
        self.drawn = [line.cell_len for line in lines]
        yield Text("\n", no_wrap=True).join(lines)


@dataclass
class _Pen:
    """Draws the parts of a run."""

    view: RunView
    now: float
    ascii_only: bool = False

    def title(self) -> Text:
        facts = self.view.facts
        size = "" if facts.parameters is None else f", {facts.parameters:,} parameters"
        title = Text(printable(facts.name), style=BOLD)
        return title.append(f"  {printable(facts.architecture)}{size}", style="not bold")

    def progress(self, width: int) -> Text:
        view, total = self.view, self.view.facts.total_steps
        share = min(1.0, view.step / max(1, total))
        head = Text(f"step {view.step:,}/{total:,}", style=BOLD)
        if view.state != "running":
            tail = Text(f"  {view.state}", style=STATES.get(view.state, ""))
        else:
            left = view.seconds_left()
            tail = Text("" if left is None else f"  {time_left(left)}")
        percent = f" {share:4.0%}"
        free = width - len(head) - len(percent) - len(tail) - 2
        bar = [("  ", ""), *self._bar(share, free)] if free >= SHORTEST_BAR else []
        return Text.assemble(head, *bar, percent, tail)

    def _bar(self, share: float, width: int) -> list[tuple[str, str]]:
        full, rest = ASCII_BAR if self.ascii_only else BAR
        done = int(share * max(0, width))
        return [(full * done, "cyan"), (rest * max(0, width - done), DIM)]

    def training(self, width: int) -> Iterator[Row]:
        view = self.view
        losses = []
        if "loss" in view.train:
            losses = [Text(value_text("loss", view.train["loss"]), style=BOLD)]
        if view.smoothed is not None:
            losses.append(Text(f"smoothed {value_text('loss', view.smoothed)}"))
        free = width - sum(len(each) + len(BETWEEN) for each in losses)
        if losses and free >= SHORTEST_CURVE:
            curve = sparkline(view.losses, min(free, 60), ascii_only=self.ascii_only)
            losses.append(Text(curve, style="cyan"))
        yield "loss", losses
        others = other_figures(view)
        yield "", [Text(f"{figure_name(name)} {value_text(name, v)}") for name, v in others]
        yield "learning rate", list(self._rate_and_norm())
        yield "speed", list(self._speed_and_memory())

    def _rate_and_norm(self) -> Iterator[Item]:
        train = self.view.train
        if "learning_rate" in train:
            yield Text(value_text("learning_rate", train["learning_rate"]))
        if "grad_norm" in train:
            yield Text(f"gradient norm {value_text('grad_norm', train['grad_norm'])}")

    def _speed_and_memory(self) -> Iterator[Item]:
        if speed := speed_text(self.view):
            yield Text(speed)
        if self.view.memory is not None:
            yield Text(f"memory {memory_size(self.view.memory)}")

    def measured(self) -> Iterator[Row]:
        view = self.view
        for kind, evaluation in view.evaluations.items():
            decides, *others = self._evaluation(kind, evaluation)
            yield kind_name(kind), decides
            yield from (("", other) for other in others)
        if view.best is not None:
            value, step = view.best
            name = view.facts.best_metric
            yield "best", [Text(f"{figure_name(name)} {value_text(name, value)} at step {step:,}")]
        if view.saved is not None:
            since = "" if view.saved_at is None else f", {ago(self.now - view.saved_at)}"
            yield "checkpoint", [Text(f"step {view.saved:,}{since}")]

    def _evaluation(self, kind: str, evaluation: Evaluation) -> tuple[list[Item], list[Item]]:
        """Return the metric that decides, with its change, and the other figures."""
        items = [
            Text(f"{figure_name(name)} {value_text(name, value)}")
            for name, value in shown_figures(evaluation, self.view, kind=kind)
        ]
        name = self.view.facts.best_metric
        if items and name in evaluation.values and (change := change_text(name, evaluation)):
            word, style = VERDICTS[improves(self.view, evaluation)]
            items[0].append(f" ({change}{word})", style=style)
        if note := note_on_unknown_text(evaluation.values).strip():
            items.append(Text(note))
        return [*items[:1], Text(f"at step {evaluation.step:,}", style=DIM)], items[1:]

    def elapsed(self) -> str:
        view = self.view
        parts = [f"attempt {view.attempt}"] if view.attempt > 1 else []
        if view.started is not None:
            parts.append(f"elapsed {duration(view.seconds + self.now - view.started)}")
        elif view.seconds:
            parts.append(f"took {duration(view.seconds)}")
        return ", ".join(parts)


def _compact(pen: _Pen, width: int) -> Iterator[Text]:
    """Yield the lines of a narrow terminal: labels and rows, whatever fits."""
    yield pen.title()
    yield pen.progress(width)
    for label, items in (*pen.training(width - 6), *pen.measured()):
        if items:
            short = {"learning rate": "lr", "evaluation": "eval", "checkpoint": "saved"}
            yield Text.assemble((f"{short.get(label, label):6}", DIM), _fitted(items, width - 6))


def _boxed(pen: _Pen, width: int, footer: str) -> Iterator[Text]:
    shape = box.ASCII if pen.ascii_only else box.ROUNDED
    inner = width - 4
    yield _edge(shape.top_left, shape.top, shape.top_right, width, pen.title(), Text())
    side = shape.mid_left
    for line in _body(pen, inner):
        line = _clipped(line, inner)
        space = " " * (inner - line.cell_len)
        yield Text.assemble((f"{side} ", DIM), line, (f"{space} {side}", DIM))
    low = shape.bottom_left, shape.bottom, shape.bottom_right
    yield _edge(*low, width, Text(pen.elapsed(), style=DIM), Text(footer, style=DIM))


def _body(pen: _Pen, inner: int) -> Iterator[Text]:
    yield pen.progress(inner)
    yield Text()
    if inner + 4 + MARGIN < WIDE:
        yield from _rows((*pen.training(inner - LABEL), *pen.measured()), inner)
        return
    half = (inner - len(BETWEEN)) // 2
    left = list(_rows(pen.training(half - LABEL), half))
    right = list(_rows(pen.measured(), half))
    for number in range(max(len(left), len(right))):
        one = _clipped(left[number], half) if number < len(left) else Text()
        other = right[number] if number < len(right) else Text()
        yield Text.assemble(one, " " * (half - one.cell_len), BETWEEN, other)


def _rows(rows: Iterable[Row], width: int) -> Iterator[Text]:
    for label, items in rows:
        if items:
            yield Text.assemble((f"{label:{LABEL}}", DIM), _fitted(items, width - LABEL))


def _fitted(items: Sequence[Item], width: int) -> Text:
    """Join the items that fit, from the first on; the first is cut if it does not."""
    line = _clipped(items[0], width)
    for item in items[1:]:
        if line.cell_len + len(BETWEEN) + item.cell_len > width:
            break
        line = Text.assemble(line, BETWEEN, item)
    return line


def _clipped(line: Text, width: int) -> Text:
    if line.cell_len <= width:
        return line
    line = line.copy()
    line.truncate(max(0, width), overflow="crop")
    return line


def _edge(left: str, line: str, right: str, width: int, head: Text, tail: Text) -> Text:
    """Return an edge of the box with a text at each end, the second only if both fit."""
    if head.cell_len + tail.cell_len + 10 > width:
        tail = Text()
    head = _clipped(head, width - 6)
    parts: list[Text | tuple[str, str]] = [(left + line, DIM)]
    parts += [Text.assemble(" ", head, " ")] if head else []
    after = Text.assemble(" ", tail, " ") if tail else Text()
    used = sum(len(each) if isinstance(each, Text) else len(each[0]) for each in parts)
    parts.append((line * (width - used - len(after) - 2), DIM))
    return Text.assemble(*parts, after, (line + right, DIM))
