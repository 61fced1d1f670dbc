"""A training that tracks in every second window of steps, and prints the seconds of the windows.

    python -m benchmarks.contenders.tracked CONFIG DIRECTORY PAIRS STEPS

Windows are `STEPS` long and begin half way between two histograms, so that a window has either one
line of TensorBoard with the histograms of all weights and gradients, or nothing. Pairs are in
alternating order: tracked, bare, bare, tracked, ...
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from model_foundry.config import load_config

WARM_UP: Final = 4  # windows
PATTERN: Final = (True, False, False, True)  # of windows that are tracked


class Windows:
    """The windows of a training; each begins with a call of `advance`."""

    def __init__(self, steps: int) -> None:
        self.steps, self.tracked = steps, True
        self.begun: list[float] = []

    def advance(self, step: int) -> None:
        """Begin a window, if it begins after this step."""
        if step % self.steps == self.steps // 2:
            self.tracked = PATTERN[len(self.begun) % len(PATTERN)]
            self.begun.append(time.perf_counter())

    def only_tracked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that does nothing, and returns None, in a window that is not tracked."""
        return lambda *arguments: method(*arguments) if self.tracked else None


def main() -> None:
    """Train, and print a list of [seconds tracked, seconds bare], one for each pair."""
    path, directory, pairs, steps = *sys.argv[1:3], *map(int, sys.argv[3:])
    settings = {
        "output_dir": directory,
        "training.max_steps": (WARM_UP + 2 * pairs) * steps + steps // 2,
        "training.logging_steps": steps,
        "training.save_strategy": "no",
        "tracking.trackers": "[tensorboard]",
        "tracking.histogram_steps": steps,
    }
    config = load_config(path, overrides=[f"{key}={value}" for key, value in settings.items()])
    from model_foundry.cli.process import set_up_process

    set_up_process(config.training.speed)  # before torch is imported
    from model_foundry import train
    from model_foundry.training.histogram_hook import HistogramHook
    from model_foundry.training.reporting import Reporter
    from model_foundry.training.trackers.background import Background

    windows, reporter = Windows(steps), Reporter()
    reporter.advance = windows.advance  # type: ignore[method-assign]
    for owner, name in ((HistogramHook, "_is_free"), (Background, "_hand_over")):
        setattr(owner, name, windows.only_tracked(getattr(owner, name)))
    train(config, make_reporter=lambda view: reporter)
    seconds = [end - begun for begun, end in zip(windows.begun, windows.begun[1:], strict=False)]
    found = []
    for at in range(WARM_UP, WARM_UP + 2 * pairs, 2):
        one, other = seconds[at : at + 2]
        found.append([one, other] if PATTERN[at % len(PATTERN)] else [other, one])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
