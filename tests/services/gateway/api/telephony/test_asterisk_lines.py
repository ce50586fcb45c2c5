"""Exact counts of Asterisk's wires on bad lines, in simulated time: the real driver, a call that hears itself.

Asterisk hands on what its callers send as it comes: a lost packet is no message, a late one a late message, and what
overtook another is out of order for good. TCP below loses and reorders nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.errors import SessionError
from moshi_cluster.services.gateway.api.telephony.audiosocket import EVERY_OTHER, AudioSocket
from moshi_cluster.services.gateway.api.telephony.chan_websocket import ChanWebSocket
from moshi_cluster.services.gateway.api.telephony.links import Ping
from moshi_cluster.services.gateway.api.telephony.options import CallOptions
from moshi_cluster.services.gateway.api.telephony.wire import Message, Request, Wire
from moshi_cluster.services.gateway.api.telephony.wire_calls import WireCalls
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from tests.services.gateway.api.telephony.simulators.asterisk_queue import AsteriskQueue
from tests.simulated_loop import run_simulated

PACKET_S, PACKETS_PER_FRAME = 0.02, 4
RATE_HZ, PACKET_BYTES = 24_000, 960
LOUD = np.full(PACKET_BYTES // 2, 8_000, "<i2").tobytes()


class Far:
    """Asterisk at the far end of a connection; what it plays it counts."""

    wire: Wire
    begin: Sequence[Message]  # what it says first

    def __init__(self) -> None:
        self.played_packets = self.empty_ticks = 0
        self.incoming: asyncio.Queue[Message | None] = asyncio.Queue()
        self.said_goodbye = True

    def voice(self, data: bytes) -> Message:
        raise NotImplementedError

    async def play(self, ppm: float) -> None:
        """What its own clock does."""

    # --- what the driver wants of a link

    async def receive(self) -> Message | Ping | None:
        return await self.incoming.get()

    async def send(self, message: Message | Ping) -> None:
        raise NotImplementedError

    async def close(self, error: SessionError | None, failed: bool, last: Sequence[Message]) -> None:
        assert not failed
        assert error is None

    async def until_flooded(self) -> None:
        await asyncio.Event().wait()


class FarWebSocket(Far):
    """A channel of chan_websocket with its queue."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = ChanWebSocket(Request("10.0.0.1", headers={}, query={}))
        start = {"event": "MEDIA_START", "format": "slin24", "optimal_frame_size": PACKET_BYTES, "ptime": 20}
        self.begin = (json.dumps(start | {"channel_variables": {"MOSHI_LOOPBACK": "true"}}),)
        self.queue = AsteriskQueue(PACKET_BYTES)

    def voice(self, data: bytes) -> Message:
        return data

    async def send(self, message: Message | Ping) -> None:
        assert not isinstance(message, Ping)
        self.queue.take(message)
        self._say()

    async def play(self, ppm: float) -> None:
        clock = asyncio.get_running_loop().time
        begin_s, tick = clock(), 0
        while True:
            tick += 1
            await asyncio.sleep(begin_s + tick * PACKET_S / (1 + ppm * 1e-6) - clock())
            if self.queue.tick() is None:
                self.empty_ticks += self.played_packets > 0
            else:
                self.played_packets += 1
            self._say()

    def _say(self) -> None:
        for event in self.queue.events:
            self.incoming.put_nowait(event)
        self.queue.events.clear()


class FarStream(Far):
    """A connection of AudioSocket, which plays what comes when it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = AudioSocket({EVERY_OTHER: CallOptions(loopback=True)})
        self.begin = (b"\x01\x00\x10" + bytes(range(16)),)
        self.at_s: list[float] = []

    def voice(self, data: bytes) -> Message:
        return b"\x13" + len(data).to_bytes(2, "big") + data

    async def send(self, message: Message | Ping) -> None:
        assert isinstance(message, bytes)
        assert message[:3] == b"\x13\x03\xc0"
        self.played_packets += 1
        self.at_s.append(asyncio.get_running_loop().time())


FARS = {"asterisk": FarWebSocket, "audiosocket": FarStream}
by_wire = pytest.mark.parametrize("wire", FARS)


@dataclass
class Counts:
    """What became of a call."""

    far: Far
    frames_in: int
    filled: int
    dropped: int
    reply_dropped: int
    packets: dict[str, int] = field(default_factory=dict)


def call(
    monkeypatch: pytest.MonkeyPatch,
    wire: str,
    arrivals_s: np.ndarray,
    ppm: float = 0.0,
    beside: Callable[[Any], Awaitable[None]] | None = None,
) -> Counts:
    """A call whose packets arrive at these times. ppm: of the far end's own clock. beside: what else happens to it."""

    async def work() -> Counts:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(time, "monotonic", loop.time)
        settings = GatewaySettings(metrics_port=0)
        manager = CallManager(settings, GatewayMetrics(CollectorRegistry()))
        far = FARS[wire]()
        over: dict[str, int] = {}
        monkeypatch.setattr(manager.metrics, "wire_over", lambda name, packets: over.update(packets))
        serving = asyncio.create_task(WireCalls(wire, settings, manager).serve(far.wire, far, "10.0.0.1"))
        others = [asyncio.create_task(far.play(ppm))] + ([asyncio.create_task(beside(far))] if beside else [])
        for message in far.begin:
            far.incoming.put_nowait(message)
        live = None
        for at_s in arrivals_s:
            await asyncio.sleep(at_s - loop.time())
            far.incoming.put_nowait(far.voice(LOUD))
            live = live or next(iter(manager.calls), None)
        await asyncio.sleep(0.5)
        live = live or next(iter(manager.calls))
        far.incoming.put_nowait(None)
        await serving
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        counters = live.call.counters
        counted = counters.frames_in, counters.frames_filled, counters.frames_dropped, counters.reply_frames_dropped
        return Counts(far, *counted, packets={name: count for name, count in over.items() if count})

    return run_simulated(work())


def spoken(seconds: float, ppm: float = 0.0) -> np.ndarray:
    """When packets are complete, by a clock that is so much fast."""
    return (np.arange(round(seconds / PACKET_S)) + 1) * PACKET_S / (1 + ppm * 1e-6)


@by_wire
def test_on_a_good_line_every_packet_is_heard_and_answered(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = call(monkeypatch, wire, spoken(20))
    assert counts.packets["received"] == 1000
    assert "left_out" not in counts.packets
    assert (counts.frames_in, counts.dropped, counts.reply_dropped) == (250, 0, 0)
    assert counts.packets["sent"] == counts.far.played_packets == PACKETS_PER_FRAME * (250 + counts.filled)
    if isinstance(counts.far, FarStream):
        apart_s = np.diff(counts.far.at_s[: 4 * 250])
        assert apart_s.min() > 0.0199
        assert apart_s.max() < 0.0201
    else:
        assert counts.far.empty_ticks <= 25 + 1  # the half second behind the last word


@by_wire
@pytest.mark.parametrize("seed", range(2))
def test_what_is_lost_before_asterisk_is_filled_in_and_nothing_else(
    wire: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = np.random.default_rng(seed).random(1000) >= 0.03
    keep[:8] = keep[-8:] = True
    counts = call(monkeypatch, wire, spoken(20)[keep])
    assert counts.packets["received"] == keep.sum()
    assert (counts.dropped, counts.reply_dropped) == (0, 0)
    # A filled frame begins with what had come of it, so that time alone says how many there are: 20.5 s in all, of
    # which the last 0.1 s are not overdue.
    assert counts.frames_in + counts.filled == 254
    assert counts.packets["sent"] == PACKETS_PER_FRAME * (counts.frames_in + counts.filled)


@by_wire
@pytest.mark.parametrize("seed", range(2))
def test_jitter_within_the_allowance_changes_nothing(wire: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    late_s = np.abs(np.random.default_rng(seed).normal(0, 0.03, 1000)).clip(0, 0.09)
    late_s[-1] = 0
    counts = call(monkeypatch, wire, np.maximum.accumulate(spoken(20) + late_s))
    assert counts.packets["received"] == 1000
    assert (counts.frames_in, counts.dropped, counts.reply_dropped) == (250, 0, 0)
    assert "left_out" not in counts.packets


@by_wire
@pytest.mark.parametrize("ppm", [-100, 100])
def test_clocks_that_disagree_lose_no_frame_and_no_time(wire: str, ppm: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's clock one way and Asterisk's the other: 200 ppm between what is sent there and what is played."""
    counts = call(monkeypatch, wire, spoken(120, ppm), ppm=-ppm)
    assert counts.packets["received"] == 6000
    assert (counts.frames_in, counts.dropped, counts.reply_dropped) == (1500, 0, 0)
    if isinstance(counts.far, FarWebSocket):
        assert counts.packets.get("left_out", 0) <= 2  # 24 ms
        assert counts.far.queue.length <= 4


@by_wire
def test_a_late_start_and_a_silence_are_filled(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comfort noise is no message: who says nothing for five seconds is stepped all the same."""
    arrivals_s = np.concatenate((3 + spoken(2), 10 + spoken(2)))
    counts = call(monkeypatch, wire, arrivals_s)
    assert counts.packets["received"] == 200
    assert counts.dropped == 0
    # From the first voice on every time slot, whose last are not overdue yet; before it a channel's call is up already,
    # and waits 1.35 s before it fills the first one.
    assert counts.frames_in + counts.filled == {"audiosocket": 117, "asterisk": 117 + 21}[wire]


def test_what_a_stall_brought_there_at_once_is_made_up_for_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes of the caller for a second, and then all of it: Asterisk's queue must not keep that second."""
    times_s = spoken(20)
    counts = call(monkeypatch, "asterisk", np.where((times_s > 10) & (times_s <= 11), 11.0, times_s))
    assert counts.packets["received"] == 1000
    assert (counts.frames_in, counts.filled, counts.dropped) == (250, 15, 11)  # 4 behind the last word, 11 in the stall
    far = counts.far
    assert isinstance(far, FarWebSocket)
    assert far.queue.length <= 4
    assert far.played_packets + far.queue.length + counts.packets.get("left_out", 0) == counts.packets["sent"]


def test_while_asterisk_holds_voice_back_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold(far: FarWebSocket) -> None:
        await asyncio.sleep(5)
        far.incoming.put_nowait('{"event":"MEDIA_XOFF"}')
        await asyncio.sleep(0.1)
        before = far.played_packets + far.queue.length
        await asyncio.sleep(4.9)
        assert far.played_packets + far.queue.length == before
        far.incoming.put_nowait('{"event":"MEDIA_XON"}')

    counts = call(monkeypatch, "asterisk", spoken(20), beside=hold)
    assert counts.packets["received"] == 1000
    assert counts.frames_in == 250
    # Of five seconds one is kept (reply_backlog_ms, less what may be on its way), and what is late of it dropped, too:
    # here, and once it has left in Asterisk's queue.
    assert counts.reply_dropped == 55
    assert counts.packets["left_out"] == 27
    assert counts.packets["sent"] // PACKETS_PER_FRAME == counts.frames_in + counts.filled - counts.reply_dropped - 1
    assert isinstance(counts.far, FarWebSocket)
    assert counts.far.queue.length <= 4
