"""What one client may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.rate_limits import ClientQuota, audio_quota, message_quota


def test_a_caller_at_the_allowed_rate_never_runs_out() -> None:
    quota = message_quota(100, 0.0)
    for index in range(10_000):
        quota.take(index * 0.01)


@given(st.integers(1, 500))
def test_a_flood_passes_two_seconds_worth_and_no_more(rate: int) -> None:
    quota = message_quota(rate, 0.0)
    for _ in range(2 * rate):
        quota.take(0.0)
    with pytest.raises(OverQuota, match="messages a second"):
        quota.take(0.0)
    quota.take(1.5 / rate)


def test_audio_may_come_at_twice_real_time_and_a_minute_at_once() -> None:
    quota = audio_quota(0.0)
    quota.take(0.0, 60.0)
    for second in range(1, 100):
        quota.take(second, 2.0)
    with pytest.raises(OverQuota, match="more than 2 seconds of audio a second"):
        quota.take(99.0, 0.08)


def test_a_client_holds_so_many_calls_whatever_their_ports() -> None:
    quota = ClientQuota(2)
    with quota.session("ipv4:10.0.0.1:1"), quota.session("ipv4:10.0.0.1:2"):
        with pytest.raises(OverQuota, match="2 calls"), quota.session("ipv4:10.0.0.1:3"):
            pass
        with quota.session("ipv4:10.0.0.2:1"):
            pass
    with quota.session("ipv4:10.0.0.1:4"):
        pass
