"""Time of the event loop that floods may take, and that a call needs."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time

import pytest

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.loop_budget import EVENT_S, MESSAGE_S, LoopBudget, LoopShare, Spending

_TAKES_S = {
    Spending.AUDIO: 3 * MESSAGE_S,
    Spending.CONTROL: 1.5 * MESSAGE_S + EVENT_S,
}  # with what the call makes of it
_OWN_SHARE = {Spending.AUDIO: 0.04, Spending.CONTROL: 0.005}
_PAGE_S = 0.0001
_SECONDS = 60.0
AUDIO, CONTROL = Spending.AUDIO, Spending.CONTROL


def taken_s(calls: int, on: Spending, reopen_s: float = _SECONDS) -> float:
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
        taken += _TAKES_S[on]
        try:
            delay_s = budgets[call].delay_s(now_s, _TAKES_S[on], on)
        except OverQuota:
            budgets[call], opened_s[call], delay_s = loop.call(now_s), now_s, _TAKES_S[on]
        heapq.heappush(next_s, (now_s + max(_TAKES_S[on], delay_s), call))
    return taken


@pytest.mark.parametrize("flood", Spending)
@pytest.mark.parametrize("packets_per_s", [12.5, 50, 100])
def test_a_call_never_waits_beside_floods(packets_per_s: float, flood: Spending) -> None:
    loop = LoopBudget(0.0)
    caller, flooding = loop.call(0.0), loop.call(0.0)
    for index in range(1, 2000):
        now_s = index / packets_per_s
        with contextlib.suppress(OverQuota):
            while not flooding.delay_s(now_s, _TAKES_S[flood], flood):
                pass
        assert caller.delay_s(now_s, _TAKES_S[AUDIO], AUDIO) == 0.0
        if index % int(packets_per_s) == 0:
            assert caller.delay_s(now_s, _TAKES_S[CONTROL], CONTROL) == 0.0


def test_a_phone_with_packets_of_two_and_a_half_ms_does_not_wait_while_nobody_floods() -> None:
    phone = LoopBudget(0.0).call(0.0)
    assert not any(phone.delay_s(index / 400, _TAKES_S[AUDIO], AUDIO) for index in range(10_000))


def test_what_a_stalled_network_delivers_is_taken_at_once() -> None:
    call = LoopBudget(0.0).call(0.0)
    assert not any(call.delay_s(10.0, _TAKES_S[AUDIO], AUDIO) for _ in range(500))


@pytest.mark.parametrize("flood", Spending)
@pytest.mark.parametrize("calls", [1, 16])
@pytest.mark.parametrize("reopen_s", [0.1, _SECONDS])
def test_floods_take_a_fraction_of_the_loop_also_when_they_call_again(
    calls: int, flood: Spending, reopen_s: float
) -> None:
    assert taken_s(calls, flood, reopen_s) / _SECONDS < 0.1 + _OWN_SHARE[flood] * calls + 0.02


def test_a_loopback_call_has_enough_for_packets_of_20_ms() -> None:
    loop = LoopBudget(0.0)
    call, flood = loop.call(0.0), loop.call(0.0)
    call.narrow(0.0)
    for index in range(1, 2000):
        with contextlib.suppress(OverQuota):
            while not flood.delay_s(index / 50, _TAKES_S[AUDIO], AUDIO):
                pass
        assert call.delay_s(index / 50, _TAKES_S[AUDIO], AUDIO) == 0.0


@pytest.mark.parametrize("flood", Spending)
def test_who_waits_for_three_seconds_is_a_flood(flood: Spending) -> None:
    call, now_s, waited_s = LoopBudget(0.0).call(0.0), 0.0, []

    def send() -> None:
        nonlocal now_s
        while now_s < _SECONDS:
            waited_s.append(call.delay_s(now_s, _TAKES_S[flood], flood))
            now_s += _TAKES_S[flood] + waited_s[-1]

    with pytest.raises(OverQuota, match="more than this gateway has time for"):
        send()
    assert 2.9 < sum(waited_s) < 3.5


async def test_a_share_gives_way_after_every_turn_and_waits_beyond_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    busy_s, waited_s = 0.0, []

    async def sleep(delay_s: float) -> None:
        waited_s.append(delay_s)

    async def keep_busy(share: LoopShare) -> None:
        nonlocal busy_s
        while busy_s < _SECONDS:
            share.begin()
            busy_s += 0.0015
            await share.give_way()

    monkeypatch.setattr(time, "thread_time", lambda: busy_s)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(OverQuota):
        await keep_busy(LoopShare(LoopBudget(0.0).call(0.0)))
    turns = [delay_s for delay_s in waited_s if delay_s == 0.0]
    assert 30 < len(turns) < 36  # a twentieth of a second is there, in turns of 1.5 ms
    assert 0.0 < waited_s[-1] < 3.0


async def test_what_others_do_while_a_connection_waits_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    busy_s, waited_s = 0.0, []

    async def sleep(delay_s: float) -> None:
        waited_s.append(delay_s)

    async def others(seconds: float) -> str:
        nonlocal busy_s
        busy_s += seconds
        return "room"

    monkeypatch.setattr(time, "thread_time", lambda: busy_s)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    share = LoopShare(LoopBudget(0.0).call(0.0))
    share.begin()
    busy_s += 0.0004
    assert await share.aside(others(10.0)) == "room"
    busy_s += 0.0004
    share.pause()
    await others(10.0)
    share.begin()
    await share.give_way()
    assert not waited_s, "0.8 ms of its own is less than a turn"


def test_one_message_during_which_garbage_was_collected_ends_no_call() -> None:
    budget = LoopBudget(0.0).call(0.0)
    assert 0.0 < budget.delay_s(0.0, 2.0, Spending.AUDIO) < 1.0


def test_a_connection_that_sends_pages_never_waits_beside_floods() -> None:
    loop = LoopBudget(0.0)
    client, flooding = loop.parsing(0.0), loop.parsing(0.0)
    for index in range(1, 2000):
        while not flooding.delay_s(index / 50, 0.0005):
            pass
        assert client.delay_s(index / 50, _PAGE_S) == 0.0


def test_connections_that_come_again_and_again_parse_for_a_tenth_of_the_time() -> None:
    loop, next_s, taken_s = LoopBudget(0.0), [0.0] * 8, 0.0
    while (now_s := min(next_s)) < _SECONDS:
        taken_s += 0.0005
        next_s[next_s.index(now_s)] = now_s + 0.0005 + loop.parsing(now_s).delay_s(now_s, 0.0005)
    assert taken_s / _SECONDS < 0.11
