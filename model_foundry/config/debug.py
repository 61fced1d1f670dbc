"""The debug section: limits, checks and profiles for finding the fault of an experiment."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from model_foundry.config.on_resume import OnResume
from model_foundry.config.sections import Section, faults_error

MOST_BATCHES = 2**31


def _batches_or_share(value: Any) -> Any:
    # Before the union, which would report a line for each of its members.
    if value is None or (type(value) is int and 0 < value < MOST_BATCHES):
        return value
    if type(value) is float and 0 < value < 1:
        return value
    law = "must be a number of batches (an integer > 0) or a share of the split (between 0 and 1)"
    raise faults_error(("", f"{law}, got {value!r}; leave it out to read everything"))


Limit = Annotated[int | float | None, BeforeValidator(_batches_or_share)]
Profiler = Literal["simple", "advanced", "torch"]


class DebugConfig(Section):
    """Limits, checks and profiles; the presets in `configs/debug/` set them."""

    limit_train: Limit = None
    """Training examples that are read, again in each epoch: those of so many optimizer steps, or a
    share. `seed.split` draws them; under `packing: streams` they are the first. None: all."""
    limit_validation: Limit = None
    """Examples of each evaluation: so many batches of `per_device_eval_batch_size`, or a share.
    They are chosen as for `limit_train`. None: all."""
    limit_test: Annotated[Limit, OnResume.FREE] = None
    """The same for the test, and for the minimal pairs of the built-in language. None: all."""
    fixed_draws: bool = False
    """Draw masks and random transforms of a training example once, not again in each pass. Masked
    examples can be learned by heart only so."""
    regularization: bool = True
    """Train with dropout, weight decay and label smoothing; false: without, whatever the other
    sections say."""
    overfit_below: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, OnResume.FREE] = None
    """Share of the first training loss below which that of the last pass must be; otherwise the
    command ends with exit code 1. None: no such check."""
    detect_anomaly: Annotated[bool, OnResume.FREE] = False
    """Name the module whose output is NaN, or the operation whose gradient is; slower."""
    profiler: Annotated[Profiler | None, OnResume.FREE] = None
    """Profile some steps: `simple` shows the phases of a step, `advanced` the Python functions,
    `torch` phases and operators, with a trace. None: no profile."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"] | None, OnResume.FREE] = None
    """Least severe messages that a run logs; None: as the program set it, which is `info` for the
    command line."""
    one_process: Annotated[bool, OnResume.FREE] = False
    """Use no worker processes, and refuse a launcher that starts several processes: so a debugger
    sees everything."""
    start_over: Annotated[bool, OnResume.FREE] = False
    """Replace the run in `output_dir` if it was started with this setting too, and move any other
    one to `<dir>.old-N`; false: resume it."""
