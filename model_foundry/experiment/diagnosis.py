"""A file about a step that was not finite, beside the run."""

from collections.abc import Iterator
from contextlib import contextmanager

from model_foundry.errors import NonFiniteError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.training.context import RunContext


@contextmanager
def writing_diagnosis(run: RunDirectory, context: RunContext) -> Iterator[None]:
    """Write a file about a step that is not finite, and name it in the error."""
    try:
        yield
    except NonFiniteError as error:
        if not error.facts:  # of an anomaly, which a single process may have found
            raise _diagnosed(error, run, context) from error
        raise context.processes.on_rank0(_diagnosed, error, run, context) from error


def _diagnosed(error: NonFiniteError, run: RunDirectory, context: RunContext) -> NonFiniteError:
    message = str(error)
    if error.facts:
        name = f"not-finite-step-{error.facts['step']:08d}"
        message += f" More in {run.write_diagnosis(name, error.facts)}."
    step = context.state.last_good_step
    where = "There is no checkpoint" if step is None else f"The last checkpoint is step {step}"
    return NonFiniteError(
        f"{message} {where}; to start again with other settings, give --fresh.", error.facts
    )
