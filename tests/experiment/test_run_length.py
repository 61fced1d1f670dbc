"""The fewest passes of a run: the step from which it may end early, and contradictions."""

from pathlib import Path

import pytest

from model_foundry import train
from model_foundry.errors import ConfigError
from model_foundry.experiment.run_length import min_steps, total_steps
from model_foundry.training.context import RunContext
from model_foundry.training.distributed import start_accelerator
from model_foundry.training.loop import Loop
from model_foundry.training.state import TrainState
from tests.experiments import tiny_experiment


@pytest.mark.parametrize(
    ("passes", "steps"),
    [(None, 0), (1, 3), (2, 5), (4, 10)],  # 10 examples in steps of 4
)
def test_the_fewest_passes_are_completed(passes: int | None, steps: int, tmp_path: Path) -> None:
    given = f"training.min_epochs={'null' if passes is None else passes}"
    settings = ("training.max_steps=10", "training.mixed_precision=no")
    config = tiny_experiment("lstm", tmp_path, given, *settings)
    assert min_steps(config, examples=10) == steps
    assert total_steps(config, examples=10) == 10
    context = RunContext(
        config=config,
        total_steps=10,
        min_steps=steps,
        state=TrainState(),
        accelerator=start_accelerator(config.training),
    )
    allowed = []
    for step in range(11):
        context.state.step = step
        allowed.append(context.may_stop)
    assert allowed == [step >= steps for step in range(11)]


def test_a_run_that_is_too_short_for_its_fewest_passes_is_refused(tmp_path: Path) -> None:
    config = tiny_experiment("lstm", tmp_path, "training.min_epochs=3", "training.max_steps=7")
    law = (
        r"^training\.min_epochs \(=3\) needs 8 steps of 4 examples, more than training\.max_steps "
        r"\(=7\); lower the first or raise the second$"
    )
    with pytest.raises(ConfigError, match=law):
        total_steps(config, examples=10)


def test_it_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = tiny_experiment("lstm", tmp_path, "training.min_epochs=300")
    with pytest.raises(ConfigError, match=r"training\.min_epochs \(=300\) needs 40,950 steps"):
        train(config)
    assert not config.output_dir.exists()


def test_the_fewest_passes_may_change_when_a_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("training.max_steps=2", "training.warmup_steps=0", "training.epochs=null")
    big = "training.per_device_train_batch_size=400"
    train(tiny_experiment("lstm", tmp_path, *settings, big))
    seen: list[int] = []
    run = Loop.run

    def listening(self: Loop, until: int | None = None) -> None:
        seen.append(self.context.min_steps)
        run(self, until)

    monkeypatch.setattr(Loop, "run", listening)
    again = tiny_experiment("lstm", tmp_path, *settings, big, "training.min_epochs=1")
    again.training.max_steps = 3
    train(again, extend=True)
    assert seen == [2]  # steps of 400 of the 546 examples
