from __future__ import annotations

from typing import Any

import pytest

from benchmarks.ghz.report import Result, line, read
from benchmarks.ghz.scenario import CALIBRATION, load


def report(**calls_s: list[float]) -> dict[str, Any]:
    """As ghz writes it: lengths in nanoseconds; a status that is not OK has an error."""
    details = [
        {"status": status, "latency": round(length_s * 1e9), "error": "" if status == "OK" else "why"}
        for status, lengths_s in calls_s.items()
        for length_s in lengths_s
    ]
    return {"details": details, "errorDistribution": {}}


def result(name: str, **calls_s: list[float]) -> Result:
    return read(load(name), report(**calls_s))


def test_no_wait_follows_the_last_send() -> None:
    assert load("smoke").ideal_s() == pytest.approx(499 * 0.02)
    assert load("lm-only").ideal_s() == pytest.approx(375 * 0.08)  # `open` and 375 frames


def test_lag_is_length_less_ideal_less_the_drift_of_a_loopback_call_of_any_length() -> None:
    calibration = result(CALIBRATION, OK=[2999 * 0.0201] * 3)
    assert calibration.drift_s() == pytest.approx(0.0001)
    smoke = result("smoke", OK=[499 * 0.0201 + 0.09, 499 * 0.0201 + 0.03])
    assert smoke.lags_s(calibration.drift_s()) == pytest.approx([0.03, 0.09])


def test_calls_that_failed_say_nothing_about_lag_and_are_counted() -> None:
    smoke = result("smoke", OK=[10.0], DeadlineExceeded=[4.1])
    assert len(smoke.excess_s) == 1
    assert smoke.unexpected == ["DeadlineExceeded"]
    assert "1 DeadlineExceeded, 1 OK" in line(smoke, None)


def test_a_cluster_that_refuses_nobody_was_not_over_its_capacity() -> None:
    assert result("over-capacity", OK=[10.0]).unexpected == ["no ResourceExhausted"]
    assert result("over-capacity", OK=[10.0], ResourceExhausted=[0.02]).unexpected == []


def test_a_run_without_a_single_call_is_told_and_not_as_expected() -> None:
    nothing = read(load("smoke"), {"details": None, "errorDistribution": None})
    assert "no call ended" in line(nothing, 0.0)
    assert nothing.unexpected
