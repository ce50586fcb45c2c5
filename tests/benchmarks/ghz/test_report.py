from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from benchmarks.ghz.report import Result, line, read
from benchmarks.ghz.scenario import load

_BEGIN = datetime(2026, 7, 1, 12, tzinfo=UTC)
SMOKE_S = 499 * 0.02


def call(status: str, length_s: float, begins_at_s: float = 0.0) -> dict[str, Any]:
    """As ghz writes it: the length in nanoseconds, the timestamp that of the end."""
    end = _BEGIN + timedelta(seconds=begins_at_s + length_s)
    return {"status": status, "latency": round(length_s * 1e9), "timestamp": end.isoformat(), "error": ""}


def result(name: str, *calls: dict[str, Any]) -> Result:
    return read(load(name), {"details": list(calls), "errorDistribution": {}})


def test_no_wait_follows_the_last_send() -> None:
    assert load("smoke").ideal_s() == pytest.approx(SMOKE_S)
    assert load("lm-only").ideal_s() == pytest.approx(375 * 0.08)  # `open` and 375 frames


def test_lag_is_what_the_loopback_calls_of_the_same_scenario_do_not_have_and_as_uncertain_as_they_are() -> None:
    calibration = result("smoke", *(call("OK", SMOKE_S + drift_s) for drift_s in (0.21, 0.2, 0.23)))
    smoke = result("smoke", *(call("OK", SMOKE_S + excess_s) for excess_s in (0.25, 0.26, 0.3)))
    assert "length - ideal: median 260 ms; lag at the end: median 30 to 60 ms, largest 70 to 100 ms" in line(
        smoke, calibration
    )
    assert "lag" not in line(smoke, None)


def test_a_run_in_which_calls_failed_was_not_as_busy_as_its_calibration_and_has_no_lag() -> None:
    smoke = result("smoke", call("OK", SMOKE_S + 0.1), call("DeadlineExceeded", 4.1))
    assert "lag" not in line(smoke, result("smoke", call("OK", SMOKE_S + 0.2)))


def test_calls_that_failed_say_nothing_about_lag_and_are_counted() -> None:
    smoke = result("smoke", call("OK", 10.0), call("DeadlineExceeded", 4.1))
    assert len(smoke.excess_s) == 1
    assert smoke.unexpected == ["DeadlineExceeded"]
    assert "1 DeadlineExceeded, 1 OK" in line(smoke, None)


def test_an_ok_shorter_than_what_its_caller_sent_ended_early_and_is_expected_nowhere() -> None:
    full = result("over-capacity", call("OK", 10.0), call("OK", 0.041), call("ResourceExhausted", 0.02))
    assert full.statuses == {"OK": 1, "ended early": 1, "ResourceExhausted": 1}
    assert full.unexpected == ["ended early"]
    assert len(full.excess_s) == 1


def test_the_first_call_to_pass_a_limit_counts_those_that_were_up() -> None:
    calls = [call("OK", 60.0, begin_s) for begin_s in range(20)]
    calls += [call("DeadlineExceeded", 60.5 - begin_s, begin_s) for begin_s in range(20, 30)]
    calls += [call("OK", 60.0, 62.0)]
    assert result("ramp", *calls).up_at_first_missed == 29  # who called first had hung up
    assert "first DeadlineExceeded with 29 calls up" in line(result("ramp", *calls), None)
    assert result("ramp", *calls[:20]).up_at_first_missed is None


def test_a_cluster_that_refuses_nobody_was_not_over_its_capacity() -> None:
    assert result("over-capacity", call("OK", 10.0)).unexpected == ["no ResourceExhausted"]
    assert result("over-capacity", call("OK", 10.0), call("ResourceExhausted", 0.02)).unexpected == []


def test_a_run_without_a_single_call_is_told_and_not_as_expected() -> None:
    nothing = read(load("smoke"), {"details": None, "errorDistribution": None})
    assert "no call ended" in line(nothing, None)
    assert nothing.unexpected
