"""Training speed of `foundry train`, whole loop with logging, against its alternatives.

    python -m benchmarks.train [--shapes "gpt2 m" ...] [--rounds 5] [data.train=PATH]

Each contender is a process that works in turn with the others (`rounds`); all read the same tokens.
Start-up, compilation, evaluation and saving are not in the figures. The comparisons whose bar is
close to 1 take twice as many rounds.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, Table, ratio_table, say
from benchmarks.rounds import Contender, Measured, run_rounds
from benchmarks.shapes import SHAPES, Shape, toy
from benchmarks.starting import LEVERS_OFF, foundry_train, loop, make_workload
from model_foundry.foundation.hardware import computes_in_bf16

ROUNDS, NEAR_ROUNDS = 5, 10  # starts; each gives `PER_START` comparisons
BARE: Final = "bare step"
DEFAULT: Final = "ours"
OURS: Final = {
    DEFAULT: {},
    "ours fp32": {"training.mixed_precision": "no", "training.compile": "false"},
    "ours bf16": {"training.mixed_precision": "bf16", "training.compile": "false"},
    "ours bf16 compiled": {"training.mixed_precision": "bf16", "training.compile": "true"},
    "ours, levers off": LEVERS_OFF,
}
"""Settings on the command line of `foundry train`."""
OTHERS: Final = {
    "HF Trainer fp32": ("hf_trainer", "no"),
    "HF Trainer bf16": ("hf_trainer", "bf16"),
    "transformers loop": ("transformers_loop", "no"),
    "litgpt loop": ("litgpt_loop", "no"),
    "torch.nn loop": ("recurrent_loop", "no"),
    BARE: ("bare_step", "no"),
    "product fp32": ("product", "no"),
    "product bf16": ("product", "bf16"),
}
"""The module below `contenders`, and its precision; that of `bare step` is the one of ours."""
PRODUCTS: Final = ("product fp32", "product bf16")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A required ratio of one shape."""

    shape: str
    ours: str = DEFAULT
    other: str
    least: float | None = None
    """The ratio of speeds; None: none is required."""
    memory: bool = False
    """It must also take no more memory."""


BARS: Final = (
    Bar(shape="gpt2 m", ours="ours fp32", other="HF Trainer fp32", least=1.8, memory=True),
    Bar(shape="gpt2 m", ours="ours bf16", other="HF Trainer bf16", least=1.25, memory=True),
    Bar(shape="gpt2 m", ours="ours bf16 compiled", other="HF Trainer bf16", least=1.35),
    Bar(shape="gpt2 m", other="HF Trainer fp32", least=2.7),
    Bar(shape="gpt2 m", other="transformers loop"),
    Bar(shape="gpt2 m", other="litgpt loop"),
    Bar(shape="gpt2 m", other="ours, levers off"),
    Bar(shape="gpt2 s", other="HF Trainer fp32", least=1.35),
    Bar(shape="gpt2 s", other="transformers loop"),
    Bar(shape="gpt2 s", other="litgpt loop"),
    Bar(shape="gpt2 s", other="ours, levers off"),
    Bar(shape="bert", ours="ours bf16", other="HF Trainer bf16", least=1.6, memory=True),
    Bar(shape="bert", ours="ours fp32", other="HF Trainer fp32", memory=True),
    Bar(shape="bert", other="ours, levers off"),
    Bar(shape="lstm 256/8192", ours="ours fp32", other="torch.nn loop", least=2.0),
    Bar(shape="lstm 256/8192", other="torch.nn loop", least=2.9),
    Bar(shape="lstm 256/8192", other="ours, levers off"),
    Bar(shape="gru 256/8192", other="torch.nn loop", least=2.0),
    Bar(shape="rnn 256/8192", other="torch.nn loop", least=2.0),
    Bar(shape="lstm 256/65", other="torch.nn loop"),
    *(Bar(shape=name, other=BARE, least=0.97) for name in SHAPES),
)


def reason_not_to_run(name: str, asked: Asked) -> str | None:
    """Return the reason that a contender cannot run here; None: it can."""
    if "bf16" in name and not computes_in_bf16():
        return "the processor does not compute in bf16"
    if "litgpt" in name and asked.litgpt is None:
        return "needs a Python of its own, --litgpt"
    if "compiled" in name and shutil.which("g++") is None:
        return "torch.compile needs g++"
    return None


def stand_in(name: str, shape: Shape) -> str:
    """Return the contender that does the same as `name` here, so that it is timed once.

    Without bf16 instructions, and for narrow models, the default computes in fp32.
    """
    narrow = shape.width < 256
    return DEFAULT if name == "ours fp32" and (narrow or not computes_in_bf16()) else name


def contenders_of(shape: Shape, asked: Asked, directory: Path) -> list[Contender]:
    """Return the contenders that the bars of a shape name, as far as they can run."""
    named = [DEFAULT, *PRODUCTS]
    for bar in BARS:
        if bar.shape == shape.name:
            named += [stand_in(bar.ours, shape), bar.other]
    runnable = [name for name in dict.fromkeys(named) if reason_not_to_run(name, asked) is None]
    return [_contender(name, directory, asked) for name in runnable]


def _contender(name: str, directory: Path, asked: Asked) -> Contender:
    if name in OURS:
        return foundry_train(name, directory, OURS[name])
    module, precision = OTHERS[name]
    python = asked.litgpt if module == "litgpt_loop" else None
    return loop(name, directory, module, precision=precision, python=python)


def ratios_of(shape: Shape, measured: Measured, asked: Asked) -> list[Ratio]:
    """Return the ratios of a shape: speeds first, then memory."""
    bars = [bar for bar in BARS if bar.shape == shape.name]
    memory = [_memory(bar, shape, measured, asked) for bar in bars if bar.memory]
    return [_speed(bar, shape, measured, asked) for bar in bars] + memory


def _missing(bar: Bar, shape: Shape, measured: Measured, asked: Asked) -> str | None:
    names = (stand_in(bar.ours, shape), bar.other)
    reasons = (reason_not_to_run(name, asked) or measured.faults.get(name) for name in names)
    return next((reason for reason in reasons if reason), None)


def _speed(bar: Bar, shape: Shape, measured: Measured, asked: Asked) -> Ratio:
    missing = _missing(bar, shape, measured, asked)
    values = () if missing else measured.ratios(stand_in(bar.ours, shape), bar.other)
    return Ratio(
        group=shape.name,
        ours=bar.ours,
        other=bar.other,
        bar=bar.least,
        values=values,
        per_start=measured.per_start,
        not_run=missing,
    )


def _memory(bar: Bar, shape: Shape, measured: Measured, asked: Asked) -> Ratio:
    missing = _missing(bar, shape, measured, asked)
    values: tuple[float, ...] = ()
    if not missing:
        peaks = (measured.contenders[n].peak_bytes for n in (stand_in(bar.ours, shape), bar.other))
        values = (next(peaks) / next(peaks),)
    return Ratio(
        group=f"{shape.name}, peak memory",
        ours=bar.ours,
        other=bar.other,
        bar=1.0,
        at_most=True,
        values=values,
        not_run=missing,
    )


def speed_table(shape: Shape, measured: Measured) -> Table:
    """Return the figures of each contender of a shape."""
    rows, m, k, n = [], *shape.product
    products = {
        name: 2 * m * k * n * median(measured.speeds[name].values())
        for name in PRODUCTS
        if measured.speeds.get(name)
    }
    for name, by_round in measured.speeds.items():
        if name not in PRODUCTS and by_round:
            rows.append(_speed_row(name, shape, measured, products))
    yardsticks = ", ".join(f"{name} {speed / 1e9:,.0f}" for name, speed in products.items())
    return Table(
        f"{shape.name}: {shape.flops_per_token / 1e6:.1f} MFLOP a token",
        ("contender", "tokens/s", "range", "GFLOP/s", "of product", "peak MiB", "until warm, s"),
        rows,
        f"GFLOP/s of the product {m} x {k} by {k} x {n} alone: {yardsticks}. All logits count as "
        "operations, also where a contender leaves out those that nothing reads.",
    )


def _speed_row(
    name: str, shape: Shape, measured: Measured, products: dict[str, float]
) -> tuple[str, ...]:
    speeds = [shape.tokens_per_step * speed for speed in measured.speeds[name].values()]
    operations = shape.flops_per_token * median(speeds)
    contender = measured.contenders[name]
    yardstick = products.get("product bf16" if "bf16" in name else "product fp32")
    return (
        name,
        f"{median(speeds):,.0f}",
        f"{min(speeds):,.0f} to {max(speeds):,.0f}",
        f"{operations / 1e9:,.1f}",
        f"{operations / yardstick:.0%}" if yardstick else "",
        f"{contender.peak_bytes / 2**20:,.0f}",
        f"{measured.started_in[name]:.1f}",
    )


def measure(asked: Asked) -> Found:
    """Measure every selected shape."""
    found = Found()
    names = [name for name in SHAPES if not asked.shapes or name in asked.shapes]
    rounds = asked.rounds or (2 if asked.quick else ROUNDS)
    for name in names:
        say(f"{name}:")
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place) / "workload"
            shape = toy(SHAPES[name]) if asked.quick else SHAPES[name]
            shape = make_workload(directory, shape, asked.text)
            measured = run_rounds(
                contenders_of(shape, asked, directory),
                rounds=rounds,
                near=frozenset({DEFAULT, BARE}),
                near_rounds=rounds if asked.quick else max(rounds, NEAR_ROUNDS),
            )
        found.tables.append(speed_table(shape, measured))
        found.ratios.extend(ratios_of(shape, measured, asked))
    found.tables.insert(0, ratio_table("Ratios of speed and memory", found.ratios))
    return found


if __name__ == "__main__":
    run_alone(measure, __doc__)
