"""Command-line options of the benchmarks."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Found
from benchmarks.shapes import GPU_SHAPES, SHAPES

TEXT = "data.train="


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options; every part reads those that it needs."""

    rounds: int | None = None
    """Rounds; each starts new processes. None: the default of the part."""
    quick: bool = False
    """Toy sizes and two rounds, to check that everything runs; the figures mean nothing."""
    text: Path | None = None
    """A UTF-8 file to train on; None: made-up words."""
    shapes: tuple[str, ...] = ()
    """Shapes to measure; empty: all."""
    steps: int | None = None
    """Optimizer steps of a soak or a quality run; None: as many as fit into `make bench`."""
    megabytes: tuple[int, ...] = ()
    """Sizes of the corpora of `data` and `soak`; empty: those that fit into `make bench`."""
    seeds: int = 3
    """Seeds of a quality run."""
    litgpt: str | None = None
    """A Python that has litgpt, which no environment can have beside transformers 5; None: litgpt
    is left out."""
    peak: float | None = None
    """TFLOP/s of the GPU by its data sheet, in bf16; None: only its product is a yardstick."""

    def as_options(self) -> str:
        """Return the options that differ from the defaults, without paths of this machine."""
        defaults = Asked()
        given = {key: value for key, value in vars(self).items() if value != getattr(defaults, key)}
        for key in given.keys() & {"text", "litgpt"}:
            given[key] = "given"
        return ", ".join(f"{key}={value}" for key, value in given.items())


class RawHelp(argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of a docstring."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all parts."""
    parser.add_argument("--rounds", type=int, help="rounds, each with new processes")
    parser.add_argument("--quick", action="store_true", help="toy sizes; the figures mean nothing")
    names = [*SHAPES, *GPU_SHAPES]
    parser.add_argument("--shapes", nargs="+", choices=names, default=(), metavar="NAME",
                        help=f"only these shapes: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--steps", type=int, help="optimizer steps of soak and quality")
    parser.add_argument("--megabytes", nargs="+", type=int, default=(), help="corpora: data, soak")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of quality")
    parser.add_argument("--litgpt", metavar="PYTHON", help="a Python that has litgpt")
    parser.add_argument("--peak", type=float, help="bf16 TFLOP/s of the GPU by its data sheet")


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[Asked, argparse.Namespace]:
    """Return the options of the benchmarks, and all options; exit on invalid ones.

    `data.train=PATH` is accepted anywhere, as by `foundry train`: an option with a list of values
    would consume it. From here on SIGTERM unwinds this process as Ctrl-C does, so that no frozen
    contender is left behind.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    words = sys.argv[1:] if argv is None else argv
    named = [word.removeprefix(TEXT) for word in words if word.startswith(TEXT)]
    options = parser.parse_args([word for word in words if not word.startswith(TEXT)])
    text = Path(named[-1]).resolve() if named else None
    if text is not None and not text.is_file():
        parser.error(f"{TEXT}{text}: no such file")
    given = {
        key: value for key, value in vars(options).items() if key in Asked.__dataclass_fields__
    }
    sequences = {key: tuple(given[key]) for key in ("shapes", "megabytes")}
    return Asked(**{**given, **sequences, "text": text}), options


def run_alone(
    measure: Callable[[Asked], Found], description: str | None, argv: Sequence[str] | None = None
) -> None:
    """Run one part and print its tables."""
    parser = argparse.ArgumentParser(description=description, formatter_class=RawHelp)
    add_options(parser)
    asked, _ = parse(parser, argv)
    found = measure(asked)
    sys.stdout.write("\n".join(str(table) for table in found.tables))
