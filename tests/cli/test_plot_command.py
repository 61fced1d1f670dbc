"""`foundry plot`: pictures that are the same each time, and its mistakes."""

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Cli
from tests.written_runs import log_lines, write_run


@pytest.fixture
def here(here: Path) -> Path:
    resumed = log_lines(20) + log_lines(40, attempt=2, after=20)
    resumed[3]["train/loss"] = None
    write_run(here / "one", lines=resumed, attempts=((0, 0, 25.0), (118, 20, None)))
    write_run(here / "two", "training.learning_rate=0.5", lines=log_lines(30))
    write_run(here / "empty", lines=[])
    return here


def test_a_picture_has_a_panel_for_each_figure(cli: Cli, here: Path) -> None:
    code, out, err = cli("plot", "one", "two", "--smooth", "3")
    assert (code, err) == (0, "")
    assert out == "curves.png: train/loss, eval/loss, train/learning_rate, train/grad_norm\n"
    with Image.open(here / "curves.png") as picture:
        assert picture.size[0] > 1000
    assert (here / "curves.png").stat().st_size < 300_000


def test_an_svg_names_what_differs_and_is_the_same_each_time(cli: Cli, here: Path) -> None:
    arguments = ("--x", "tokens", "--metric", "eval/loss", "--metric", "train/loss", "--log")
    for name in ("a.svg", "b.svg"):
        code, *_ = cli("plot", "one", "two", *arguments, "--output", name)
        assert code == 0
    text = (here / "a.svg").read_text()
    assert text == (here / "b.svg").read_text()
    for part in ("learning rate 0.01", "learning rate 0.5", "best evaluation", "resumed", "tokens"):
        assert part in text
    assert "evaluation loss" in text and "2026" not in text.replace("2026-01", "")


def test_an_empty_run_beside_another_has_no_curve(cli: Cli, here: Path) -> None:
    assert cli("plot", "one", "empty", "--output", "a.svg")[0] == 0
    assert ">empty<" not in (here / "a.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "error: empty: nothing has been logged yet"),
        (["one", "--metric", "loss"], "did you mean 'train/loss' or 'eval/loss'?"),
        (["one", "--x", "images"], "error: --x 'images': one has not counted it; it has step, hou"),
        (["one", "--output", "a.pdf"], "--output a.pdf: must end in .png or .svg, got '.pdf'"),
        (["one", "--output", "a"], "--output a: must end in .png or .svg, got 'no ending'"),
        (["three"], "error: three: no such directory"),
        (["one", "--smooth", "0"], "--smooth"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    cli: Cli, here: Path, arguments: list[str], message: str
) -> None:
    before = sorted(here.iterdir())
    code, out, err = cli("plot", *arguments)
    assert (code, out) == (2, "") and message in err.splitlines()[-1]
    assert sorted(here.iterdir()) == before


def test_a_place_that_cannot_be_written_is_named(cli: Cli, here: Path) -> None:
    code, _, err = cli("plot", "one", "--output", "nowhere/a.png")
    assert code == 8
    assert err == "error: nowhere/a.png: cannot be written (No such file or directory).\n"
