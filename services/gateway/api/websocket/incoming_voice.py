"""Incoming voice of a connection: pages to Opus packets to the call, within what one client may send."""

from __future__ import annotations

import time
from collections.abc import Callable

from moshi_cluster.audio.ogg import OpusStreamReader
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.admission.loop_budget import LoopShare
from moshi_cluster.services.gateway.admission.rate_limits import RateQuota
from moshi_cluster.services.gateway.api.websocket.unheard import UnheardCheck
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.metrics import Unheard

_SECOND_STREAM = "only the first of several streams in the same Ogg pages is heard"

OnUnheard = Callable[[Unheard, str], None]
"""Called with a reason for the metrics and a sentence for the client, at most once for each reason."""


class IncomingVoice:
    """Takes the messages that are meant to be heard, and those that are nothing at all."""

    def __init__(self, quota: RateQuota, share: LoopShare, on_unheard: OnUnheard) -> None:
        """quota: of messages; pages and packets beyond the first of each count as well. share: who pays the time."""
        self.call: Call | None = None
        """Where the voice goes once it is up; before, it is dropped."""
        self._quota = quota
        self._share = share
        self._on_unheard = on_unheard
        self._reader = OpusStreamReader()
        self._check = UnheardCheck()
        self._has_told_of_streams = False

    async def pages(self, data: bytes) -> bool:
        """Takes the payload of an audio message; whether any of it is heard. Raises OverQuota or LimitReached."""
        heard_packets = together = 0
        other_pages = self._reader.other_pages
        skipped_bytes = self._reader.skipped_bytes
        for number, packets in enumerate(self._reader.pages(data)):
            self._count(number, len(packets))
            for packet in packets:
                frames = self._feed(packet, together)
                heard_packets += frames is not None
                together += frames or 0
                if self.call is not None and await self._share.aside(self.call.until_room()):
                    together = 0  # what follows comes later
            await self._share.give_way()
        has_other_pages = self._reader.other_pages > other_pages
        if heard_packets:
            self._check.heard()
        elif has_other_pages or self._reader.skipped_bytes > skipped_bytes:
            self._tell("format", self._check.pages(data, has_other_pages))
        if has_other_pages:
            self._tell_of_streams()
        return bool(heard_packets) and self.call is not None

    def nothing(self, data: bytes) -> None:
        """Takes a message of no known type, or a text."""
        self._tell("format", self._check.message(data))

    def _count(self, number: int, packets: int) -> None:
        extra = (number > 0) + max(0, packets - 1)
        if extra:
            self._quota.take(time.monotonic(), extra)

    def _feed(self, packet: bytes, together: int) -> int | None:
        """How many frames a packet completes, 0 for one that comes too early; None when it is no Opus."""
        if self.call is None:
            return 0
        try:
            return self.call.feed(packet, together)
        except InvalidInput:  # the next packet may be Opus
            return None

    def _tell(self, reason: Unheard, sentence: str | None) -> None:
        if sentence is not None:
            self._on_unheard(reason, sentence)

    def _tell_of_streams(self) -> None:
        if self._check.is_heard and not self._has_told_of_streams:
            self._has_told_of_streams = True
            self._on_unheard("stream", _SECOND_STREAM)
