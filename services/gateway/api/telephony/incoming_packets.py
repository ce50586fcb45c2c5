"""Incoming packets of one connection: put in order where they are numbered, and fed to the call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from moshi_cluster.services.common.errors import SessionError
from moshi_cluster.services.gateway.api.telephony.packet_order import Packet, PacketCounts, PacketOrder
from moshi_cluster.services.gateway.api.telephony.wire import Voice
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.calls.call import Call

_HOLD_S = 0.04
"""Packets behind a gap wait no longer than this for the one that is missing."""

_SILENCE = {
    Encoding.MULAW: b"\xff",
    Encoding.ALAW: b"\xd5",
    Encoding.PCM_S16LE: b"\0",
    Encoding.PCM_S16BE: b"\0",
    Encoding.PCM_F32LE: b"\0",
}
"""A byte of silence. Codecs that remember have none: what they lost is the call's own to fill."""


class IncomingPackets:
    """The caller's packets of one call."""

    def __init__(self, call: Call, packet_format: AudioFormat, longest_fill_ms: int) -> None:
        """longest_fill_ms: silence for what was lost; longer gaps are the call's own to fill."""
        silence = _SILENCE.get(packet_format.encoding, b"")
        self._call = call
        self._order = PacketOrder(silence, packet_format.bytes_per_s / 1000, longest_fill_ms)
        self._timer: asyncio.TimerHandle | None = None
        self._late_error: SessionError | None = None

    def take(self, voice: Voice) -> None:
        """Takes a packet. Raises InvalidInput, or LimitReached for a broken slo."""
        self._raise_late()
        if voice.number is None:
            self._order.counts.received += 1
            self._feed([voice.data])
        else:
            self._feed(self._order.push(Packet(voice.data, voice.number, voice.time_ms)))
            self._set_timer()

    def finish(self) -> None:
        """No more will come: what still waits can be heard. Raises as `take` does."""
        self._feed(self._order.release())
        self._raise_late()

    def close(self) -> PacketCounts:
        """What came, all in all."""
        if self._timer is not None:
            self._timer.cancel()
        return self._order.counts

    def _feed(self, packets: Iterable[bytes]) -> None:
        for data in packets:
            self._call.feed(data)

    def _set_timer(self) -> None:
        if self._timer is not None and not self._order.is_holding:
            self._timer.cancel()
            self._timer = None
        elif self._timer is None and self._order.is_holding:
            self._timer = asyncio.get_running_loop().call_later(_HOLD_S, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        try:
            self._feed(self._order.release())
        except SessionError as error:
            self._late_error = error

    def _raise_late(self) -> None:
        """What went wrong while nobody was there to be told."""
        if self._late_error is not None:
            raise self._late_error
