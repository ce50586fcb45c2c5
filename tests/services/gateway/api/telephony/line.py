"""Line of a telephone system in simulated time: its wire, the packets' order, the ingress, the clock; no network."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import CollectorRegistry

from moshi_cluster.services.gateway.api.telephony.incoming_packets import IncomingPackets
from moshi_cluster.services.gateway.api.telephony.packet_order import PacketCounts
from moshi_cluster.services.gateway.api.telephony.wire import Opening, Voice, Wire
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.clock import CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import PendingEvents
from moshi_cluster.services.gateway.calls.ingress import Ingress
from moshi_cluster.services.gateway.metrics import GatewayMetrics

FIRST_PACKET_S = 1.25


class Line:
    """A wire, and a call whose model steps at once, in time that the test lets pass."""

    def __init__(self, wire: Wire, opening: str) -> None:
        self.wire = wire
        (self.opening,) = (item for item in wire.parse(opening) if isinstance(item, Opening))
        wire.started(cast(Any, None))
        self.counters = CallCounters(GatewayMetrics(CollectorRegistry()))
        self._ingress = Ingress(
            self.opening.input_format,
            CallerClock(0.0, first_frame_allowance_s=FIRST_PACKET_S),
            self.counters,
            PendingEvents(0.0),
        )
        self._packets = IncomingPackets(cast(Call, self), self.opening.input_format, 100)
        self._now_s = 0.0
        self.stepped = 0

    def feed(self, data: bytes) -> None:
        """What `Call.feed` does."""
        self._ingress.feed(data, self._now_s)
        self._step()

    def receive(self, message: str | bytes, now_s: float) -> None:
        self.wait_until(now_s)
        for item in self.wire.parse(message):
            if isinstance(item, Voice):
                self._packets.take(item)

    def wait_until(self, now_s: float) -> None:
        while self._ingress.next_deadline_s <= now_s:
            self._ingress.fill(self._ingress.next_deadline_s)
            self._step()
        self._now_s = now_s

    def close(self) -> PacketCounts:
        return self._packets.close()

    def _step(self) -> None:
        while len(self._ingress):
            self._ingress.take()
            self.stepped += 1

    def check(self) -> None:
        counters = self.counters
        assert counters.frames_in + counters.frames_filled - counters.frames_dropped == self.stepped
