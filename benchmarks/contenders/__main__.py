"""Run one contender until it is killed: NAME no|bf16 WORKLOAD TICKS."""

import json
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.contenders.work import Work
from benchmarks.shapes import Shape

name, precision, directory, ticks = sys.argv[1:]
shape = Shape(**json.loads((Path(directory) / "shape.json").read_text(encoding="utf-8")))
import_module(f"benchmarks.contenders.{name}").run(
    Work(directory=Path(directory), ticks=Path(ticks), shape=shape, bf16=precision == "bf16")
)
