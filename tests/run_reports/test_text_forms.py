"""Durations, curves and memory as short text."""

from math import inf, nan

import pytest

from model_foundry.run_reports.text_forms import (
    ago,
    duration,
    local_time,
    memory_size,
    sparkline,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0:00:00"), (83.4, "0:01:23"), (2 * 86400 + 61, "2 days, 0:01:01")],
)
def test_a_duration_has_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s ago"), (59, "59 s ago"), (150, "2 min ago"), (7200, "2 h ago"), (1e6, "12 d ago")],
)
def test_a_time_ago_has_one_unit(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_memory_is_in_megabytes_or_gigabytes() -> None:
    assert memory_size(5e6) == "5 MB"
    assert memory_size(1.234e9) == "1.23 GB"


@pytest.mark.parametrize(
    ("values", "width", "text"),
    [
        ([], 5, ""),
        ([1.0], 5, "▁"),
        ([2.0, 2.0], 5, "▁▁"),
        ([0, 7, 3.5], 5, "▁█▅"),
        ([0, 0, 7, 7], 2, "▁█"),
        ([1, nan, 2], 5, "▁ █"),
        ([nan, inf], 5, "  "),
        ([0, 1e308, -1e308], 5, "▅█▁"),
        ([1, 2], 0, ""),
    ],
)
def test_a_curve_lies_between_its_extremes(values: list[float], width: int, text: str) -> None:
    assert sparkline(values, width) == text


def test_a_curve_can_do_with_ascii() -> None:
    assert sparkline([0, 7], 5, ascii_only=True) == "_#"


def test_a_time_is_shown_in_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(local_time("2026-01-02T03:04:05+00:00")) == len("2026-01-02 03:04")
    assert local_time("once") == "once"
