"""The way to resume, in the message of an interruption."""

from collections.abc import Iterator
from contextlib import contextmanager

from model_foundry.errors import Interrupted

RESUME_HINT = "run the same command again"


@contextmanager
def resume_hint(*, fresh: bool = False, starts_over: bool = False) -> Iterator[None]:
    """Add to the message of an interruption the way to resume.

    Args:
        fresh: a new run was started by now, which the same command would move aside.
        starts_over: the same command does not resume.
    """
    try:
        yield
    except Interrupted as error:
        if RESUME_HINT in str(error):
            raise
        without = ", but without --fresh," if fresh and not starts_over else ""
        end = "start over" if starts_over else "continue"
        raise Interrupted(f"{error}; {RESUME_HINT}{without} to {end}") from error
