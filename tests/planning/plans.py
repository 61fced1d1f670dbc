"""A plan without a risk, for tests to change."""

from dataclasses import replace
from typing import Any

from model_foundry.planning.figures import (
    Compute,
    Disk,
    LargestBatch,
    Length,
    Memory,
    Parameters,
    Plan,
    Schedule,
    Time,
    Vocabulary,
)

MB = 10**6
GOOD = Plan(
    experiment_name="good",
    architecture="gpt2",
    objective="causal_lm",
    parameters=Parameters(
        total=1000,
        trainable=1000,
        embeddings=300,
        layers=690,
        other=10,
        head=0,
        tied=True,
        multiplied=900,
    ),
    length=Length(
        steps=100,
        examples_per_step=8,
        examples=400,
        passes=2.0,
        first_epoch=50,
        per_step={"tokens": 128.0, "words": 90.4},
        in_all={"tokens": 12_800, "words": 9040},
        row=16,
        evaluated=20,
    ),
    compute=Compute(
        per_position=6000.0,
        attention=600.0,
        counted_per_example=96_000.0,
        total=76.8e6,
        tokens_per_parameter=12.8,
    ),
    memory=Memory(
        device="cpu",
        rows=8,
        weights=4 * MB,
        gradients=4 * MB,
        average=0,
        optimizer=8 * MB,
        activations=20 * MB,
        logits=5 * MB,
        peak=32 * MB,
        per_row=2.5 * MB,
        tried_rows=8,
        process=400 * MB,
        growth=80 * MB,
        available=900 * MB,
        installed=1000 * MB,
    ),
    largest_batch=LargestBatch(rows=30, how="estimated", dividing=8, passes=1),
    schedule=Schedule(
        evaluations=[50, 100], checkpoints=[25, 50, 75, 100], milestones=[], about=False
    ),
    disk=Disk(
        checkpoint=12 * MB,
        model=4 * MB,
        models=1,
        kept=4,
        lean=0,
        extra=1,
        in_all=64 * MB,
        present=0,
        free=1000 * MB,
    ),
    vocabulary=Vocabulary(ordinary=100, never=3, rare=10),
    time=Time(
        start=5.0,
        step=0.5,
        steps_measured=20,
        evaluation=4.0,
        checkpoint=0.2,
        training=50.0,
        evaluations=8.0,
        checkpoints=1.0,
        in_all=64.0,
    ),
    risks=[],
)


def changed(part: str, **figures: Any) -> Plan:
    """Return the plan with other figures in one part."""
    return replace(GOOD, **{part: replace(getattr(GOOD, part), **figures)})
