"""Effect of the speed settings on the validation loss: no more than that of another seed.

    python -m benchmarks.quality data.train=PATH [--steps 2000] [--seeds 3]

Trains configs/shakespeare_char.yaml by default and with every lever off, each with the same seeds,
and compares the validation losses.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Final

from benchmarks.asked import Asked, run_alone
from benchmarks.results import Found, Table, say
from benchmarks.rounds import PROJECT
from benchmarks.starting import FOUNDRY, LEVERS_OFF, run_quietly
from benchmarks.texts import lines_of, write_lines
from model_foundry.training.metrics_log import read_metrics

RECIPE: Final = PROJECT / "configs" / "shakespeare_char.yaml"
STEPS: Final = 500
FIRST_SEED: Final = 1337
PATHS: Final = {"default": {}, "levers off": LEVERS_OFF}
TOY: Final = {
    "model.transformer.layers": "1",
    "model.transformer.hidden_size": "16",
    "training.per_device_train_batch_size": "2",
    "training.warmup_steps": "2",
    "data.validation_fraction": "0.01",
}


@dataclass(frozen=True)
class Trained:
    """One finished run."""

    loss: float
    """Nats a character on the validation text."""
    seconds: float


def train(run: Path, settings: dict[str, str]) -> Trained:
    """Train the recipe and return its result."""
    overrides = [f"{key}={value}" for key, value in settings.items()]
    begun = time.perf_counter()
    run_quietly([*FOUNDRY, "train", str(RECIPE), f"output_dir={run}", *overrides])
    seconds = time.perf_counter() - begun
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "eval/loss" in line]
    return Trained(lines[-1]["eval/loss"], seconds)


def row(name: str, runs: list[Trained]) -> tuple[str, ...]:
    """Return the row of one path."""
    losses = [run.loss for run in runs]
    spread = f"{stdev(losses):.4f}" if len(losses) > 1 else ""
    each = ", ".join(f"{loss:.4f}" for loss in losses)
    return name, f"{mean(losses):.4f}", spread, each, f"{mean(run.seconds for run in runs):.1f}"


def compared(default: list[Trained], plain: list[Trained]) -> str:
    """Describe the difference of two paths."""
    apart = [a.loss - b.loss for a, b in zip(default, plain, strict=True)]
    text = f"Same seeds differ by {mean(apart):+.4f} nats on average"
    if len(apart) < 2:
        return f"{text}; one seed has no spread to compare with."
    noise = stdev(run.loss for run in plain)
    verdict = "within" if abs(mean(apart)) <= noise else "BEYOND"
    return f"{text}, {verdict} the standard deviation between seeds, {noise:.4f}."


def measure(asked: Asked) -> Found:
    """Train each path with each seed, in turn."""
    steps = asked.steps or (4 if asked.quick else STEPS)
    runs: dict[str, list[Trained]] = {name: [] for name in PATHS}
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        text = asked.text
        if text is None:
            text = directory / "corpus.txt"
            lines = lines_of(None, sentences=200 if asked.quick else 20_000)
            write_lines(text, lines, megabytes=0.1 if asked.quick else 1)
        settings = {
            "data.train": str(text),
            "data.cache_dir": str(directory / "cache"),
            "training.max_steps": str(steps),
            **(TOY if asked.quick else {}),
        }
        say(f"quality, {steps} steps:")
        for seed in range(FIRST_SEED, FIRST_SEED + asked.seeds):
            for name, levers in PATHS.items():
                given = {**settings, **levers, "seed": str(seed)}
                runs[name].append(train(directory / f"{name.replace(' ', '-')}-{seed}", given))
                say(f"  seed {seed}, {name}: {runs[name][-1].loss:.4f}")
    source = "the text given" if asked.text else "sentences of the built-in language"
    table = Table(
        f"Validation loss after {steps} steps of configs/shakespeare_char.yaml, on {source}",
        ("path", "mean", "sd", "each seed", "seconds"),
        [row(name, each) for name, each in runs.items()],
        compared(runs["default"], runs["levers off"]),
    )
    return Found([table])


if __name__ == "__main__":
    run_alone(measure, __doc__)
