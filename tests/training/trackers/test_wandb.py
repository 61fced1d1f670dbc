"""The process ends though the service of W&B does not."""

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, subprocess, sys
from model_foundry.training.trackers import wandb

command = [sys.executable, "-c", "import time; time.sleep(60)"]
other, service = subprocess.Popen(command), subprocess.Popen(command)
atexit.register(other.kill)
atexit.register(service.wait)  # as `wandb.init` does
wandb.SERVICE, wandb.NOTICE_SECONDS = "python", 0.1
wandb.WandbTracker._services_before = frozenset([other.pid])
wandb.WandbTracker.leave()
atexit.register(lambda: print("alive", service.poll() is None))
atexit.register(lambda: print("begun"))
atexit._run_exitfuncs()
print("service", service.returncode)
"""


@pytest.mark.slow
def test_a_service_that_was_left_ends_with_the_process() -> None:
    pytest.importorskip("psutil")
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=40, check=True
    )
    assert ended.stdout.split() == ["begun", "alive", "True", "service", "-9"]
    assert not ended.stderr
