"""Failpoints: whoever watches hears of each point, and nothing is left when the watching ends."""

import pytest

from model_foundry.foundation.failpoints import failpoint, watching


def test_a_watcher_hears_every_point_in_order_and_none_afterwards() -> None:
    outer: list[str] = []
    inner: list[str] = []
    failpoint("before")
    with watching(outer.append):
        failpoint("a")
        with watching(inner.append):
            failpoint("b")
        failpoint("c")
    failpoint("after")
    assert (outer, inner) == (["a", "b", "c"], ["b"])


def test_what_a_watcher_raises_comes_out_at_the_point_and_ends_the_watching() -> None:
    def die(point: str) -> None:
        raise ZeroDivisionError(point)

    with pytest.raises(ZeroDivisionError, match="here"), watching(die):
        failpoint("here")
    failpoint("here")
