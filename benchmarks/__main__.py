"""Run the benchmarks and write RESULTS.md, results.json and results.png: `python -m benchmarks`.

    python -m benchmarks [--only train ...] [--rounds N] [--quick] [data.train=PATH]
    python -m benchmarks --take-in DIRECTORY

All parts take about an hour on two cores; nothing else should run meanwhile. Each part is written
when it is done, so that an interrupted run loses one part at most. `--take-in` measures nothing: it
copies the parts that another machine has measured, as written by `make gpu`.
"""

import argparse
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.asked import RawHelp, add_options, parse
from benchmarks.results import Store, say
from benchmarks.starting import run_quietly

PARTS: Final = (
    *("train", "native", "generate", "startup", "data", "trackers", "soak", "quality", "gpu"),
    "plan",
)


def take_in(parser: argparse.ArgumentParser, directory: Path, *, into: Path) -> None:
    """Copy the records of one result directory into another, and draw its picture again."""
    records = Store(directory).read()
    if not records:
        parser.error(f"--take-in {directory}: there is no results.json with figures")
    for part, record in records.items():
        Store(into).put_record(part, record)
        say(f"{part}: taken into {into}")
    draw(into)


def draw(directory: Path) -> None:
    """Draw results.png."""
    run_quietly([sys.executable, "-m", "benchmarks.plot", str(directory)])


def main() -> None:
    """Run the selected parts, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawHelp)
    add_options(parser)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART",
                        help=f"only these: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIRECTORY",
                        help="where the results go; left out: beside this file, and under --quick "
                        "into a new temporary directory")  # fmt: skip
    parser.add_argument("--take-in", type=Path, metavar="DIRECTORY",
                        help="results of another machine, which replace those here")  # fmt: skip
    asked, options = parse(parser, None)
    beside = Path(__file__).parent
    if options.take_in:
        take_in(parser, options.take_in, into=options.output or beside)
        return
    output = options.output or (Path(tempfile.mkdtemp()) if asked.quick else beside)
    for part in options.only:
        begun = time.perf_counter()
        found = import_module(f"benchmarks.{part}").measure(asked)
        given = asked.as_options()
        Store(output).put(part, found, options=given, seconds=time.perf_counter() - begun)
        draw(output)
        say(f"{part}: written to {output}")


if __name__ == "__main__":
    main()
