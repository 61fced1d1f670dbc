"""The built-in schedules by value at chosen steps, and as transformers has them."""

import math
from typing import Any

import pytest
import torch
import transformers

from model_foundry.config import SCHEDULES, TrainingConfig
from model_foundry.training.lr_schedule import learning_rate
from tests.training.test_lr_schedule import KINDS, config

WARMUP, END = 10, 110
# (schedule, its section): the rates at the end of the warm-up, after a quarter, half, 90% and all
# of the steps after it, with a peak of 1 and a minimum of 0.1
VALUES: list[tuple[str, dict[str, Any], list[float]]] = [
    ("constant", {}, [1, 1, 1, 1, 1]),
    ("linear", {}, [1, 0.775, 0.55, 0.19, 0.1]),
    ("cosine", {}, [1, 0.8681981, 0.55, 0.1220246, 0.1]),
    ("polynomial", {"power": 1.0}, [1, 0.775, 0.55, 0.19, 0.1]),
    ("polynomial", {"power": 2.0}, [1, 0.60625, 0.325, 0.109, 0.1]),
    ("polynomial", {"power": 0.5}, [1, 0.8794229, 0.7363961, 0.3846050, 0.1]),
    ("cosine_with_restarts", {"num_cycles": 1}, [1, 0.8681981, 0.55, 0.1220246, 0.1]),
    ("cosine_with_restarts", {"num_cycles": 2}, [1, 0.55, 1, 0.1859424, 0.1]),
    ("cosine_with_restarts", {"num_cycles": 4}, [1, 1, 1, 0.4109424, 0.1]),
    ("inverse_sqrt", {}, [1, 0.5345225, 0.4082483, 0.3162278, 0.3015113]),
    ("inverse_sqrt", {"timescale": 100}, [1, 0.8944272, 0.8164966, 0.7254763, 0.7071068]),
    ("inverse_sqrt", {"timescale": 1}, [1, 0.1961161, 0.1400280, 0.1048285, 0.1]),  # at least 0.1
    ("warmup_stable_decay", {}, [1, 1, 1, 0.3636039, 0.1]),
    ("warmup_stable_decay", {"decay_type": "linear"}, [1, 1, 1, 0.55, 0.1]),
    ("warmup_stable_decay", {"decay_type": "cosine"}, [1, 1, 1, 0.55, 0.1]),
    (
        "warmup_stable_decay",
        {"decay_share": 1.0, "decay_type": "linear"},
        [1, 0.775, 0.55, 0.19, 0.1],
    ),
    ("warmup_stable_decay", {"decay_share": 0.5}, [1, 1, 1, 0.1950155, 0.1]),
    ("reduce_lr_on_plateau", {}, [1, 1, 1, 1, 1]),
]


def of(kind: str, section: dict[str, Any], low: float = 0.1) -> TrainingConfig:
    own = {kind: section} if section else {}
    return config(kind, min_learning_rate=low, **own)


@pytest.mark.parametrize(("kind", "section", "rates"), VALUES)
def test_rates_at_chosen_steps(kind: str, section: dict[str, Any], rates: list[float]) -> None:
    steps = [WARMUP + after for after in (0, 25, 50, 90, 100)]
    found = [learning_rate(step, of(kind, section), END) for step in steps]
    assert found == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize(("kind", "section", "rates"), VALUES)
def test_rates_stay_between_minimum_and_peak(
    kind: str, section: dict[str, Any], rates: list[float]
) -> None:
    found = [learning_rate(step, of(kind, section), END) for step in range(WARMUP, 200)]
    assert min(found) > 0.1 - 1e-12 and max(found) == 1
    if kind != "inverse_sqrt":  # which has no end
        assert {*found[100:]} == {found[100]}


def test_every_schedule_has_values() -> None:
    assert {kind for kind, *_ in VALUES} == {*KINDS}


def test_plateaus_reduce_the_rate_down_to_the_minimum() -> None:
    settings = of("reduce_lr_on_plateau", {"factor": 0.3})
    rates = [learning_rate(50, settings, END, reductions=number) for number in range(4)]
    assert rates == pytest.approx([1, 0.3, 0.1, 0.1])
    assert learning_rate(4, settings, END, reductions=2) == 0.5  # the warm-up is none of them


def test_a_stable_run_has_the_rates_of_a_longer_one() -> None:
    settings = of("warmup_stable_decay", {})
    same = [learning_rate(s, settings, 110) == learning_rate(s, settings, 1010) for s in range(110)]
    assert same.index(False) == 91  # the first step of its fall


def test_the_inverse_square_root_without_a_warm_up_has_the_timescale_of_t5() -> None:
    settings = TrainingConfig(max_steps=9, learning_rate=1.0, lr_scheduler_type="inverse_sqrt")
    assert learning_rate(30_000, settings, 9) == pytest.approx(0.5)
    assert learning_rate(10_000, settings, 9) == pytest.approx(math.sqrt(0.5))


# --- against transformers -------------------------------------------------------------------------

AGAINST_TRANSFORMERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("constant", {}, {}),
    ("linear", {}, {}),
    ("cosine", {}, {}),
    ("cosine_with_restarts", {"num_cycles": 3}, {"num_cycles": 3}),
    ("polynomial", {"power": 3.0}, {"power": 3.0, "lr_end": 0.0}),
    ("inverse_sqrt", {}, {}),
    ("inverse_sqrt", {"timescale": 40}, {"timescale": 40}),
    *(
        (
            "warmup_stable_decay",
            {"decay_share": 0.3, "decay_type": kind},
            {"num_decay_steps": 30, "decay_type": kind},
        )
        for kind in ("linear", "cosine", "1-sqrt")
    ),
]


@pytest.mark.parametrize(("kind", "section", "arguments"), AGAINST_TRANSFORMERS)
def test_after_the_warm_up_rates_are_those_of_transformers(
    kind: str, section: dict[str, Any], arguments: dict[str, Any]
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = transformers.get_scheduler(
        "constant_with_warmup" if kind == "constant" else kind,
        optimizer,
        num_warmup_steps=WARMUP,
        num_training_steps=END,
        scheduler_specific_kwargs=arguments,
    )
    settings = of(kind, section, low=0.0)
    for step in range(END + 1):
        if step >= WARMUP:  # in it, theirs begins with a rate of zero
            expected = optimizer.param_groups[0]["lr"]
            assert learning_rate(step, settings, END) == pytest.approx(expected, abs=1e-6), step
        optimizer.step()
        schedule.step()


def test_those_that_follow_evaluations_are_marked() -> None:
    marked = [spec.name for spec in SCHEDULES.known() if spec.follows_evaluations]
    assert marked == ["reduce_lr_on_plateau"]
