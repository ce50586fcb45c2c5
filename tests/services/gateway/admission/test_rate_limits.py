"""What one client may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.rate_limits import ClientQuota, Pace, audio_pace, message_quota
from moshi_cluster.services.gateway.settings import GatewaySettings


def test_a_caller_at_the_allowed_rate_never_runs_out() -> None:
    quota = message_quota(100, 0.0)
    for index in range(10_000):
        quota.take(index * 0.01)


@given(st.integers(1, 500))
def test_a_flood_passes_two_seconds_worth_and_no_more(rate: int) -> None:
    quota = message_quota(rate, 0.0)
    for _ in range(2 * rate):
        quota.take(0.0)
    with pytest.raises(OverQuota, match="more messages than one call may send"):
        quota.take(0.0)
    quota.take(1.5 / rate)


@given(stall_s=st.floats(0, 27.9), before_s=st.floats(0, 100), per_s=st.sampled_from([12.5, 50, 100, 400]))
def test_who_catches_up_after_a_stall_is_no_flood(stall_s: float, before_s: float, per_s: float) -> None:
    """Everything that was sent meanwhile in real time comes at once, and then goes on."""
    quota = message_quota(400, 0.0)
    for index in range(int(before_s * per_s)):
        quota.take(index / per_s)
    for _ in range(int(stall_s * per_s)):
        quota.take(before_s + stall_s)
    for index in range(int(10 * per_s)):
        quota.take(before_s + stall_s + index / per_s)


def test_what_was_not_used_for_longer_than_any_stall_is_forgotten() -> None:
    quota = message_quota(10, 0.0)
    for _ in range(300):
        quota.take(3600.0)
    with pytest.raises(OverQuota):
        quota.take(3600.0)


@pytest.mark.parametrize("packet_ms", [2.5, 5, 10, 20, 40, 60])
def test_packets_of_every_length_that_opus_has_pass_by_default(packet_ms: float) -> None:
    quota = message_quota(GatewaySettings().max_messages_per_s, 0.0)
    for index in range(int(60_000 / packet_ms)):
        quota.take(index * packet_ms / 1000)


@given(amounts=st.lists(st.floats(0, 50), max_size=60), per_s=st.floats(1, 100), burst=st.floats(1, 100))
def test_who_waits_as_told_uses_no_more_than_the_pace_and_its_burst(
    amounts: list[float], per_s: float, burst: float
) -> None:
    pace, now_s, used = Pace(per_s, burst, 0.0), 0.0, 0.0
    for amount in amounts:
        assert used <= burst + now_s * per_s + 1e-6
        used += amount
        now_s += pace.delay_s(now_s, amount)


def test_who_uses_little_is_never_made_to_wait() -> None:
    pace = Pace(10.0, 5.0, 0.0)
    assert {pace.delay_s(step * 0.1, 1.0) for step in range(1, 500)} == {0.0}


@pytest.mark.parametrize(("backlog_s", "at_once_s"), [(0.64, 1.0), (20.0, 25.0)])
def test_audio_is_read_a_little_faster_than_real_time_and_some_of_it_at_once(
    backlog_s: float, at_once_s: float
) -> None:
    pace = audio_pace(backlog_s, 0.0)
    assert pace.delay_s(0.0, at_once_s) == 0.0
    for second in range(1, 100):
        assert pace.delay_s(second, 1.25) == 0.0
    assert pace.delay_s(99.0, 1.0) == pytest.approx(0.8)


@given(stall_s=st.floats(0, 29.9), before_s=st.floats(0, 100))
def test_what_was_said_during_a_stall_is_read_at_once(stall_s: float, before_s: float) -> None:
    pace = audio_pace(0.64, 0.0)
    assert pace.delay_s(before_s, min(before_s, 1.0)) == 0.0
    assert pace.delay_s(before_s + stall_s, stall_s) == 0.0


def test_a_client_holds_so_many_calls() -> None:
    quota = ClientQuota(2)
    with quota.session("10.0.0.1"), quota.session("10.0.0.1"):
        with pytest.raises(OverQuota, match="all its calls"), quota.session("10.0.0.1"):
            pass
        with quota.session("10.0.0.2"):
            pass
    with quota.session("10.0.0.1"):
        pass
