"""Imports before the first step of a training: torch, transformers, Accelerate, and little more.

Modules are counted and nothing is timed; `benchmarks/startup.py` does that.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXPERIMENT = """
experiment_name: one
data: {train: corpus.txt, document: line, max_sequence_length: 8, preprocessing_num_workers: 0}
tokenizer: {tokenizer_type: bpe, vocab_size: 300}
model: {architecture: gpt2, transformer: {layers: 1, hidden_size: 8, attention_heads: 2}}
training: {max_steps: 2, per_device_train_batch_size: 2}
"""
# Imports what no training goes without, trains, and reports at the end of the first step what was
# imported besides.
WATCHED = """
import json, os, sys
import tokenizers, torch
from accelerate import Accelerator
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast
from torch.optim import adamw
needed = set(sys.modules)
from model_foundry.cli import main
from model_foundry.foundation.failpoints import watching

def stop(point):
    if point == "step 1 made":
        besides = sorted(set(sys.modules) - needed)
        roots = {name.partition(".")[0] for name in needed} | sys.stdlib_module_names
        packages = sorted({name.partition(".")[0] for name in besides} - roots)
        print(json.dumps([besides, packages]), flush=True)
        os._exit(0)

with watching(stop):
    main()
"""
# pydantic and typer read the experiment, rich draws the progress, pyarrow reads columnar files, and
# imports cloudpickle where that is installed.
OURS = {
    *("model_foundry", "pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
    *("typer", "annotated_doc", "shellingham", "rich", "pyarrow", "sentencepiece"),
    "cloudpickle",
}


def imported_for_the_first_step(directory: Path, project: Path) -> tuple[list[str], list[str]]:
    """Return the modules and the packages."""
    (directory / "one.yaml").write_text(EXPERIMENT)
    text = "".join(f"a line of {number} words, and more\n" for number in range(40))
    (directory / "corpus.txt").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "train", "one.yaml"],
        env=os.environ | {"PYTHONPATH": str(project)},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    modules, packages = json.loads(done.stdout)
    return modules, packages


def test_the_first_step_needs_little_besides_torch_and_transformers(
    tmp_path: Path, project: Path
) -> None:
    besides, packages = imported_for_the_first_step(tmp_path, project)
    assert "model_foundry" in packages
    assert {name for name in packages if not name.startswith("_cython")} <= OURS
    of_torch = [name for name in besides if name.startswith(("torch.", "transformers."))]
    assert len(of_torch) < 30, of_torch
    assert not [name for name in of_torch if name.startswith("torch._inductor")]
    reported = {
        "model_foundry.cli.data_report",
        "model_foundry.doctor.checks",
        "model_foundry.doctor.small_experiment",
    }
    assert not reported & set(besides)
