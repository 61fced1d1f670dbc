"""The pictures of output.md, drawn from runs.

    python docs/output_pictures.py RUN RUN ...

The first run is shown as it was when three fifths of it were done: the panel at 80 and 140 columns,
as a terminal draws it. Its characters are drawn with the font that matplotlib brings.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from rich.color import ColorType
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import MONOKAI

from model_foundry.run_reports.panel import RunPanel
from model_foundry.run_reports.reporters import HINT
from model_foundry.run_reports.run_files import RunFiles
from model_foundry.run_reports.run_report import RunReader, seconds_of
from model_foundry.run_reports.run_view import RunView

HERE = Path(__file__).parent
SHOWN = 0.6  # of the steps
FONT_SIZE, LINE_HEIGHT, MARGIN = 20, 23, 16  # pixels
BACKGROUND, FOREGROUND, DIMMED = "#1e1e1e", "#d8d8d8", "#8a8a8a"
PLOTS = {
    "plot_curves.png": "--smooth 5",
    "plot_tokens.png": "--x tokens --metric eval/bits_per_byte --metric train/loss --log",
}


def view_at(run: Path, share: float) -> tuple[RunView, float]:
    """Return a run as it was when a share of its steps was made, and the time of that."""
    report, _ = RunReader(RunFiles(run)).read(0.0)
    view = RunView(report.view.facts)
    lines = [line for line in report.lines if line["step"] <= share * view.facts.total_steps]
    times = {line["step"]: line["time"] for line in lines}
    view.begin(seconds_of(report.attempts(0.0)[0].started))
    for line in lines:
        view.add(line)
    view.saved = max(each.step for each in report.checkpoints() if each.step in times)
    view.saved_at = times[view.saved]
    return view, lines[-1]["time"]


def draw_terminal(lines: list[list[Segment]], columns: int, path: Path) -> None:
    """Draw lines of a terminal into a PNG."""
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf", FONT_SIZE)
    width = font.getlength("M")
    size = round(columns * width) + 2 * MARGIN, len(lines) * LINE_HEIGHT + 2 * MARGIN
    picture = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        column = 0
        for text, style, _ in line:
            for character in text:
                place = MARGIN + column * width, MARGIN + row * LINE_HEIGHT
                pen.text(place, character, font=font, fill=colour_of(style))
                column += 1
    picture.quantize(64).save(path, optimize=True)


def colour_of(style: Style | None) -> str:
    """Return the colour of a character."""
    if style is None or style.color is None or style.color.type is ColorType.DEFAULT:
        return DIMMED if style is not None and style.dim else FOREGROUND
    return style.color.get_truecolor(MONOKAI).hex


def main() -> None:
    """Draw all pictures."""
    runs = [Path(text) for text in sys.argv[1:]]
    view, now = view_at(runs[0], SHOWN)
    for columns in (80, 140):
        console = Console(width=columns, force_terminal=True, color_system="standard")
        lines = console.render_lines(RunPanel(view, HINT, now=lambda: now), pad=False)
        draw_terminal(lines, columns, HERE / f"panel_{columns}.png")
    for name, options in PLOTS.items():
        command = [sys.executable, "-m", "model_foundry", "plot", *map(str, runs)]
        output = ["--output", str(HERE / name)]
        subprocess.run([*command, *shlex.split(options), *output], check=True)


if __name__ == "__main__":
    main()
