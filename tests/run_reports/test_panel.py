"""The panel of a run at several widths, as text."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from model_foundry.run_reports.live_panel import LivePanel
from model_foundry.run_reports.panel import RunPanel
from model_foundry.run_reports.run_files import RunFacts
from model_foundry.run_reports.run_view import RunView
from tests.written_runs import BEGUN, log_lines

FACTS = RunFacts(name="my-lstm", architecture="lstm", total_steps=80, parameters=1_234_567)
BOX_80 = """\
╭─ my-lstm  lstm, 1,234,567 parameters ──────────────────────────────────────╮
│ step 40/80  ━━━━━━━━━━━━━━━━━━━━━──────────────────────  50%  0:00:40 left │
│                                                                            │
│ loss          2.4060   smoothed 2.4637   █▆▅▄▃▂▁▁                          │
│ learning rate 1.00e-03   gradient norm 0.50                                │
│ speed         1,234 tokens/s   memory 1.50 GB                              │
│ evaluation    loss 2.5060 (-0.2634 better)   at step 40                    │
│               perplexity 12.26                                             │
│ best          loss 2.5060 at step 40                                       │
│ checkpoint    step 40, 10 s ago                                            │
╰─ elapsed 0:00:50 ───────────────────────────────── Ctrl-C saves and stops ─╯
"""
LINES_40 = """\
my-lstm  lstm, 1,234,567 parameters
step 40/80  50%  0:00:40 left
loss  2.4060   smoothed 2.4637
lr    1.00e-03   gradient norm 0.50
speed 1,234 tokens/s   memory 1.50 GB
eval  loss 2.5060 (-0.2634 better)
      perplexity 12.26
best  loss 2.5060 at step 40
saved step 40, 10 s ago
"""


def view(facts: RunFacts = FACTS) -> RunView:
    view = RunView(facts)
    view.begin(BEGUN)
    for line in log_lines():
        view.add(line)
    view.saved, view.saved_at, view.memory = 40, BEGUN + 40, 1.5e9
    return view


def drawn(view: RunView, width: int, *, encoding: str = "utf-8", colour: str | None = None) -> str:
    binary = io.BytesIO()
    stream = io.TextIOWrapper(binary, encoding=encoding)
    system = {} if colour is None else {"color_system": colour, "force_terminal": True}
    console = Console(file=stream, width=width, **system)  # type: ignore[arg-type]
    console.print(RunPanel(view, footer="Ctrl-C saves and stops", now=lambda: BEGUN + 50))
    stream.flush()
    return binary.getvalue().decode(encoding)


def test_at_80_columns_it_is_a_box() -> None:
    assert drawn(view(), 80) == BOX_80


def test_at_140_columns_it_has_two_columns_of_figures() -> None:
    lines = drawn(view(), 140).splitlines()
    assert {len(line) for line in lines} == {138} and len(lines) == 8
    assert lines[3].index("evaluation    loss 2.5060") == lines[5].index("best   ")
    assert lines[6].strip("│ ") == "checkpoint    step 40, 10 s ago"


def test_at_40_columns_it_has_no_box_and_leaves_out_what_does_not_fit() -> None:
    assert drawn(view(), 40) == LINES_40
    assert max(map(len, drawn(view(), 20).splitlines())) <= 18


@pytest.mark.parametrize("width", [1, 3, 10, 59, 60, 61, 62, 119, 122, 500])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(view(), width).splitlines()
    assert max(map(len, lines)) <= max(width, 1)


def test_a_long_name_is_cut_and_control_characters_are_escaped() -> None:
    facts = RunFacts(name="x" * 200 + "\n", architecture="\x1b[2J", total_steps=1)
    text = drawn(view(facts), 80)
    assert {len(line) for line in text.splitlines()} == {78}
    assert "\x1b" not in drawn(view(RunFacts(name="\x1b", architecture="a", total_steps=1)), 80)


def test_without_colour_the_words_say_it_all_and_with_colour_the_text_is_the_same() -> None:
    coloured = drawn(view(), 80, colour="standard")
    assert "\x1b[32m" in coloured  # green: it is better
    assert Text.from_ansi(coloured).plain.rstrip("\n") == BOX_80.rstrip("\n")


def test_no_color_leaves_out_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = drawn(view(), 80, colour="standard")
    assert "\x1b[32m" not in text and "\x1b[36m" not in text


def test_a_stream_that_has_ascii_only_gets_ascii_only() -> None:
    text = drawn(view(), 80, encoding="ascii")
    assert text.isascii() and text.startswith("+- my-lstm") and "#" in text


def test_a_view_without_any_line_has_its_name_and_its_progress() -> None:
    empty = RunView(FACTS)
    lines = drawn(empty, 80).splitlines()
    assert len(lines) == 4 and "step 0/80" in lines[1] and "0%" in lines[1]


@pytest.mark.parametrize("state", ["completed", "interrupted", "failed", "killed"])
def test_a_run_that_ended_has_its_state_instead_of_the_time_left(state: str) -> None:
    ended = view()
    ended.state, ended.started, ended.seconds = state, None, 61.0  # type: ignore[assignment]
    text = drawn(ended, 80)
    assert f"{state} │" in text and "left" not in text and "took 0:01:01" in text


def test_a_metric_of_which_more_is_better_is_judged_so() -> None:
    facts = RunFacts(
        name="one",
        architecture="lstm",
        total_steps=9,
        best_metric="accuracy",
        greater_is_better=True,
    )
    counting = RunView(facts)
    for step, value in enumerate((0.5, 0.75, 0.7, 0.7), 1):
        counting.add({"step": step, "eval/loss": 1.0, "eval/accuracy": value})
        text = drawn(counting, 80)
        expected = {2: "(+0.2500 better)", 3: "(-0.0500 worse)", 4: "(+0.0000)"}.get(step, "0.5000")
        assert f"accuracy {value:.4f}" in text and expected in text
    assert "learning rate" not in text  # a model that counts


def test_figures_under_other_names_are_shown() -> None:
    odd = view()
    odd.add({"step": 41, "train/loss": 2.0, "train/word_accuracy": 0.25, "train/lines_seen": 4})
    odd.add({"step": 41, "eval_ema/loss": 1.5})
    odd.add({"step": 41, "test/chrf": 40.0})
    text = drawn(odd, 80)
    for part in ("word accuracy 0.2500", "eval ema      loss 1.5000", "test          chrf 40.0000"):
        assert part in text
    assert "lines seen" not in text


def test_a_narrower_terminal_gets_the_wrapped_rows_erased() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=40, force_terminal=True)
    panel = RunPanel(view(), now=lambda: BEGUN)
    live = LivePanel(panel, console, refreshes=0.001)
    with live:
        live.refresh()
        before = stream.tell()
        console.width = 40  # each of the 11 lines of 78 cells now takes two rows
        live.refresh()
        stream.seek(before)
        assert stream.read().count("\x1b[1A") == 11 + 10
        before = stream.tell()
        console.width = 80
        live.refresh()
        stream.seek(before)
        assert stream.read().count("\x1b[1A") == 8
