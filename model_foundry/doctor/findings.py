"""`Finding`, the result of one check, and the facts of the machine."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from model_foundry.doctor.small_experiment import SmallExperiment
from model_foundry.foundation.random_state import environment
from model_foundry.foundation.tested_versions import (
    installed_versions,
    newer_than_tested,
    older_than_tested,
)


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    figure: str
    good: bool | None = None
    """None: a fact, neither good nor bad."""


def machine(trial: SmallExperiment) -> Iterator[Finding]:
    """Yield the facts of the machine."""
    facts = environment(trial.accelerator.device)
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = int(facts["threads"])
    yield Finding("device", facts["device"])
    remedy = "" if threads <= cores else "; lower OMP_NUM_THREADS, they wait for each other"
    yield Finding("threads", f"{threads} on {cores} cores{remedy}", threads <= cores)
    yield libraries()


def libraries() -> Finding:
    """Return the versions of the libraries, with those that were never tested.

    A newer version is not an error: the other checks show if it works.
    """
    installed = installed_versions()
    newer, older = list(newer_than_tested(installed)), list(older_than_tested(installed))
    named = ", ".join(f"{library} {found}" for library, found in installed.items())
    good = False if older else None if newer else True
    return Finding("libraries", "; ".join([named, *older, *newer]), good)
