"""`foundry plan`: what it prints, its JSON, and its exit codes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_foundry import planning
from model_foundry.cli.plan_report import plan_lines
from model_foundry.config import save_config
from model_foundry.planning.figures import Plan, Risk
from tests.cli.conftest import Cli
from tests.experiments import tiny_experiment
from tests.planning.plans import GOOD, MB, changed

DISK = Risk(name="disk", text="checkpoints and model need 2.0 GB and 1.0 GB are free", certain=True)
REPORT = """\
good: gpt2, causal_lm

model
  parameters      1,000
    embeddings    300 (30.0%, tied to the output matrix)
    layers        690 (69.0%)
    other         10 (1.0%)
  vocabulary      100 entries beside special tokens; in the training text 3
                  never, 10 fewer than 10 times

run
  steps           100, each of 8 examples (128 tokens, 90 words)
  in all          12,800 tokens, 9,040 words, 800 examples
  passes          2.00 over 400 examples
  evaluations     2, every 50 steps, the last after step 100; 20 examples each
  checkpoints     4, every 25 steps, the last after step 100

operations
  per token       6.0 kFLOP = 6 N + 12 L D T, N = 900 weights that multiply,
                  attention 10% (arXiv:2001.08361, 2204.02311)
  in all          76.8 MFLOP
  tokens          12.8 for each parameter; about 20 make the most of a given
                  number of operations (arXiv:2203.15556)
  repeats         2.0 passes; up to 4 are worth nearly as much as new data
                  (arXiv:2305.16264)

memory
  device          cpu, 8 examples in a forward pass
  weights         4.0 MB
  gradients       4.0 MB
  optimizer state 8.0 MB
  activations     20.0 MB, 5.0 MB of them logits
  peak            32.0 MB of tensors, as in a step that was made
  process         400.0 MB for libraries and data now, and about 80.0 MB more
                  for the peak, with what the allocator wastes
  free            900.0 MB of 1.0 GB
  largest batch   30 examples in a forward pass, estimated; the global batch of
                  8 fits into one pass

disk
  checkpoint      12.0 MB
  model           4.0 MB
  at most         64.0 MB at a time: 4 checkpoints, one being written, the final
                  model
  free            1.0 GB

time
  in all          about 0:01:04
    start         5.0 s
    training      50.0 s: 500.0 ms a step, 256 tokens a second, measured on 20
                  steps
    evaluations   8.0 s: 2 of 4.00 s
    checkpoints   1.0 s: 0.20 s each

risks: none found"""


def test_the_whole_report() -> None:
    lines = list(plan_lines(GOOD))
    assert "\n".join(lines) == REPORT
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (replace(GOOD, time=None), "  not known       --measure trains for some seconds to"),
        (replace(GOOD, risks=[DISK]), "  FAILS           disk: checkpoints and model need 2.0"),
        (
            replace(GOOD, risks=[replace(DISK, certain=False)]),
            "  warning         disk: checkpoints and model",
        ),
        (changed("schedule", milestones=[1, 2, 4, 8]), "  milestones      4, after steps 1, 2, 4"),
        (
            changed("schedule", milestones=[2**n for n in range(12)], about=True),
            "  milestones      about 12, after steps 1, 2, 4, 8, 16, 32 ... 2,048",
        ),
        (changed("memory", average=4 * MB), "  average         4.0 MB, of the weights"),
        (changed("disk", present=3 * MB), "  there           3.0 MB of checkpoints"),
        (changed("disk", models=2), "                  model and its average"),
        (changed("schedule", checkpoints=[100]), "  checkpoints     1, after step 100"),
        (changed("parameters", trainable=600), "  parameters      1,000, 400 of them frozen"),
        (
            changed("memory", optimizer=None, activations=None, peak=None, growth=None),
            "  activations     not known: the model does not fit",
        ),
        (
            changed("memory", optimizer=None, activations=None, peak=None, growth=None),
            "  checkpoint      12.0 MB, and the optimizer's state",
        ),
        (
            changed("memory", tried_rows=2),
            "  peak            32.0 MB of tensors, from steps of up to 2 rows, 2.5 MB for",
        ),
        (
            changed("compute", per_position=None),
            "  per example     96.0 kFLOP, counted in the products of a step that was made",
        ),
        (changed("compute", attention=0.0), "  per token       6.0 kFLOP = 6 N, N = 900 weights"),
        (
            changed("disk", lean=3),
            "  at most         64.0 MB at a time: 4 checkpoints, 3 milestones",
        ),
        (
            changed("largest_batch", dividing=2, passes=4),
            "  largest batch   30 examples in a forward pass, estimated; the global batch of",
        ),
    ],
)
def test_lines_of_other_plans(plan: Plan, line: str) -> None:
    lines = list(plan_lines(plan))
    assert any(each.startswith(line) for each in lines), lines
    assert max(map(len, lines)) <= 80


@pytest.fixture
def given(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Plans that are made, without making them; the options asked for."""
    asked: list[Any] = []

    def build_plan(config: Any, *, measure: bool, announce: Any, started: float) -> Plan:
        assert started > 0.1  # of the imports of this process
        asked.append(measure)
        fails = config.experiment_name == "fails"
        return replace(GOOD, risks=[DISK]) if fails else GOOD

    monkeypatch.setattr(planning, "build_plan", build_plan)
    (here / "task.yaml").write_text(save_config(tiny_experiment("gpt2", here)))
    return asked


def test_the_json_is_the_plan(cli: Cli, given: list[Any]) -> None:
    code, out, _ = cli("plan", "task.yaml", "--json", "--measure")
    assert (code, given) == (0, [True])
    assert json.loads(out) == GOOD.as_json()


def test_what_is_certain_to_fail_has_an_exit_code(cli: Cli, given: list[Any]) -> None:
    code, out, _ = cli("plan", "task.yaml", "experiment_name=fails")
    assert (code, given) == (1, [False])
    assert out.endswith(
        "  FAILS           disk: checkpoints and model need 2.0 GB and 1.0 GB are free\n"
    )


def test_a_real_plan_leaves_nothing(cli: Cli, here: Path) -> None:
    (here / "task.yaml").write_text(save_config(tiny_experiment("gpt2", here)))
    code, out, err = cli("plan", "task.yaml", "model.transformer.max_position_embeddings=64")
    assert (code, sorted(path.name for path in here.iterdir())) == (0, ["task.yaml"])
    assert out.startswith("gpt2: gpt2, causal_lm\n\nmodel\n  parameters      ")
    words = " ".join(out.split())
    assert "warning positions: the model has 64 positions and rows have 16" in words
    assert "error" not in err


def test_mistakes_are_those_of_training(cli: Cli, here: Path) -> None:
    (here / "task.yaml").write_text(save_config(tiny_experiment("gpt2", here)))
    code, _, err = cli("plan", "task.yaml", "data.train=none.txt")
    assert code == 3 and "none.txt: no such file" in err
