"""Idle, length, flush and slo, in simulated time."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.limits import CallLimits, check_slo
from moshi_cluster.services.gateway.calls.spec import Slo
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings

SETTINGS = GatewaySettings(idle_timeout_s=60.0, session_max_s=3600.0, flush_timeout_s=10.0)
START_S = 1000.0


def limits() -> CallLimits:
    return CallLimits(SETTINGS, START_S)


def ends_at(call: CallLimits, now_s: float) -> tuple[float, str]:
    """When a task that sleeps as `check` says ends the call, and why."""
    while True:
        try:
            next_s = call.check(now_s)
        except LimitReached as error:
            return now_s, str(error)
        assert next_s > now_s, "a check that is due at once would spin"
        now_s = next_s


def test_a_silent_call_ends_after_the_idle_time() -> None:
    assert ends_at(limits(), START_S) == (1060.0, "the caller sent nothing")


def test_whatever_is_heard_begins_the_idle_time_again() -> None:
    call = limits()
    call.heard(1059.0)
    assert ends_at(call, 1059.5) == (1119.0, "the caller sent nothing")


def test_the_longest_call_ends_although_it_is_heard() -> None:
    call = limits()
    now_s = START_S
    while now_s < START_S + 3600.0:
        call.heard(now_s)
        now_s = call.check(now_s)
    assert now_s == START_S + 3600.0
    with pytest.raises(LimitReached, match="^the call reached its longest time$"):
        call.check(now_s)


def test_what_is_in_flight_after_hang_up_has_the_flush_time() -> None:
    call = limits()
    call.hung_up(1500.0)
    assert ends_at(call, 1500.0) == (1510.0, "the last replies were not taken in time")


def test_a_hang_up_between_two_checks_is_seen_in_time() -> None:
    call = limits()
    next_s = call.check(START_S)
    call.hung_up(START_S + 0.001)
    ended_s, _ = ends_at(call, next_s)
    assert ended_s == pytest.approx(START_S + 10.001)


def test_nothing_heard_after_hang_up_prolongs_the_flush() -> None:
    call = limits()
    call.hung_up(1500.0)
    call.heard(1509.0)
    assert ends_at(call, 1509.5)[0] == 1510.0


def test_an_hour_long_call_that_hangs_up_may_still_flush() -> None:
    call = limits()
    call.hung_up(START_S + 3599.0)
    assert call.check(START_S + 3601.0) == START_S + 3609.0


# --- slo


def counted(out: int, late: int) -> CallCounters:
    counters = CallCounters(GatewayMetrics(CollectorRegistry()))
    for frame in range(out):
        counters.frame_out(0.1 if frame < late else 0.01)
    return counters


@pytest.mark.parametrize(
    ("slo", "counters", "backlog"),
    [
        (Slo(0.0, 0), counted(100, 100), 1000),
        (Slo(0.1, 0), counted(49, 49), 0),
        (Slo(0.1, 0), counted(50, 5), 0),
        (Slo(0.0, 4), counted(0, 0), 4),
    ],
    ids=["nothing asked for", "too few frames to say", "just within", "backlog just within"],
)
def test_a_call_within_its_slo_goes_on(slo: Slo, counters: CallCounters, backlog: int) -> None:
    check_slo(slo, counters, backlog)


def test_a_share_of_late_frames_beyond_the_slo_ends_the_call_with_the_counts() -> None:
    with pytest.raises(LimitReached) as error:
        check_slo(Slo(0.1, 0), counted(50, 6), 0)
    assert str(error.value) == "slo: share of late frames"
    assert error.value.figures == {
        "frames_late": "6",
        "frames_out": "50",
        "late_ratio": "0.12",
        "max_late_ratio": "0.1",
    }


def test_a_backlog_beyond_the_slo_ends_the_call_with_the_counts() -> None:
    with pytest.raises(LimitReached, match="^slo: waiting frames$") as error:
        check_slo(Slo(0.0, 4), counted(0, 0), 5)
    assert error.value.figures == {"waiting_frames": "5", "max_backlog_frames": "4"}
