"""Sound in and out, 20 ms of both at a time: where the caller's voice comes from and Moshi's goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.telephony.playback import PlaybackBuffer, silence
from moshi_cluster.clients.telephony.wire_formats import S16Samples

BLOCK_SAMPLES = 480  # 20 ms
BLOCK_S = BLOCK_SAMPLES / MODEL_RATE_HZ


@dataclass(frozen=True)
class Block:
    """A block of sound: what was said and what was played meanwhile, of equal length."""

    said: S16Samples
    played: S16Samples


class Sound(Protocol):
    """A microphone and a loudspeaker."""

    def blocks(self, playback: PlaybackBuffer) -> AsyncGenerator[Block, None]:
        """Takes what is played from `playback` as time passes. Ends when nothing more will be said, or after `stop`."""

    def stop(self) -> None:
        """The caller hangs up."""


class FileSound:
    """A recording, then silence, in real time; plays to nobody, at the pace of a loudspeaker."""

    def __init__(self, samples: S16Samples, tail_s: float) -> None:
        self._samples = samples + silence(round(tail_s * MODEL_RATE_HZ))
        self._stopped = False

    async def blocks(self, playback: PlaybackBuffer) -> AsyncGenerator[Block, None]:
        """See Sound. Block n comes n block lengths after the first: a late one does not delay those behind it."""
        clock = asyncio.get_running_loop().time
        start_s = clock()
        for index, first in enumerate(range(0, len(self._samples), BLOCK_SAMPLES)):
            await asyncio.sleep(max(0.0, start_s + index * BLOCK_S - clock()))
            if self._stopped:
                return
            said = self._samples[first : first + BLOCK_SAMPLES]
            yield Block(said, playback.pull(len(said)))

    def stop(self) -> None:
        """See Sound."""
        self._stopped = True
