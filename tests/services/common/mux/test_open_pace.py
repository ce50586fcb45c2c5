"""Streams that a gateway opens are taken a group at a time, and those that come one by one at once."""

from __future__ import annotations

import pytest

from moshi_cluster.services.common.mux.open_pace import OpenPace


def test_who_opens_without_a_pause_waits_after_each_group() -> None:
    pace, now_s, waited = OpenPace(), 100.0, 0
    for _ in range(640):
        delay_s = pace.delay_s(now_s)
        now_s += delay_s + 1e-6
        waited += delay_s > 0
    assert waited == 10


@pytest.mark.parametrize("start_s", [0.0, 1e9])
def test_who_opens_now_and_then_never_waits(start_s: float) -> None:
    pace = OpenPace()
    assert not any(pace.delay_s(start_s + 0.02 * index) for index in range(1000))
