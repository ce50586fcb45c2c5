"""Time of the event loop that floods may take, and that a call needs."""

from __future__ import annotations

import heapq

import pytest

from moshi_cluster.services.gateway.admission.loop_budget import MESSAGE_S, LoopBudget

_PACKET_S = 1.5 * MESSAGE_S  # with what the call makes of it
_SECONDS = 60.0


def taken_s(calls: int, reopen_s: float = _SECONDS) -> float:
    """Time of the loop that so many calls get which send as fast as they may and are opened again that often."""
    loop = LoopBudget(0.0)
    budgets = [loop.call(0.0) for _ in range(calls)]
    next_s = [(0.0, call) for call in range(calls)]
    opened_s = [0.0] * calls
    taken = 0.0
    while next_s[0][0] < _SECONDS:
        now_s, call = heapq.heappop(next_s)
        if now_s - opened_s[call] >= reopen_s:
            budgets[call], opened_s[call] = loop.call(now_s), now_s
        taken += _PACKET_S
        heapq.heappush(next_s, (now_s + max(_PACKET_S, budgets[call].delay_s(now_s, _PACKET_S)), call))
    return taken


@pytest.mark.parametrize("packets_per_s", [12.5, 50, 100])
def test_a_call_never_waits_beside_floods(packets_per_s: float) -> None:
    loop = LoopBudget(0.0)
    caller, flood = loop.call(0.0), loop.call(0.0)
    for index in range(1, 2000):
        now_s = index / packets_per_s
        while not flood.delay_s(now_s, _PACKET_S):
            pass
        assert caller.delay_s(now_s, _PACKET_S) == 0.0


def test_a_phone_with_packets_of_two_and_a_half_ms_does_not_wait_while_nobody_floods() -> None:
    phone = LoopBudget(0.0).call(0.0)
    assert not any(phone.delay_s(index / 400, _PACKET_S) for index in range(10_000))


def test_what_a_stalled_network_delivers_is_taken_at_once() -> None:
    call = LoopBudget(0.0).call(0.0)
    assert not any(call.delay_s(10.0, _PACKET_S) for _ in range(500))


@pytest.mark.parametrize("calls", [1, 16])
def test_floods_take_a_fraction_of_the_loop(calls: int) -> None:
    assert taken_s(calls) / _SECONDS < 0.15 + 0.02 * calls + 0.02


def test_who_calls_again_all_the_time_gets_no_more() -> None:
    assert taken_s(16, reopen_s=0.1) / _SECONDS < 0.15 + 0.02 * 16 + 0.02
