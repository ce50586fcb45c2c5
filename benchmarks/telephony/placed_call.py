"""One call of a simulated phone in real time: what was said when, and what came back when."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.online.playback import SimulatedPlayback
from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.audio.g711 import G711_RATE_HZ, decode_mulaw
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.audio.resample import Resampler
from moshi_cluster.cluster.recorded_callers import RecordedCaller
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone

_LAST_REPLY_S = 1.0  # the answer to what was said last
_OVER_S = 20.0
_PLAYBACK_S = 0.1


@dataclass
class PlacedCall:
    """What became of one call."""

    wire: str
    recording: RecordedCaller
    phone: Phone
    said_s: array[float] = field(default_factory=lambda: array("d"))  # when each frame of the caller was complete
    problem: str = ""
    """Why it did not go well, if it did not."""

    @property
    def turnaround_s(self) -> list[float]:
        """Of each reply frame: when its last sample came, less when the caller's frame of this number was sent.

        Without fills and drops the n-th answers the n-th.
        """
        ends = np.cumsum([heard.samples.size for heard in self.phone.heard])
        frame_samples = round(FRAME_S * self.phone.rate_hz)
        frames = min(len(self.said_s), int(ends[-1]) // frame_samples if len(ends) else 0)
        places = np.searchsorted(ends, frame_samples * np.arange(1, frames + 1))
        return [self.phone.heard[place].at_s - said_s for place, said_s in zip(places, self.said_s, strict=False)]

    @property
    def missing_frames(self) -> int:
        """Frames that were said and not answered, less those that were answered without having been said."""
        heard = sum(heard.samples.size for heard in self.phone.heard)
        return len(self.said_s) - heard // round(FRAME_S * self.phone.rate_hz)

    @property
    def gaps(self) -> int:
        """How often a phone that plays a tenth of a second behind would have had nothing to play."""
        playback = SimulatedPlayback(_PLAYBACK_S)
        for heard in self.phone.heard:
            playback.arrive(heard.at_s, heard.samples.size / self.phone.rate_hz)
        return playback.underruns


async def place(call: PlacedCall, gateway: Gateway, parameters: Mapping[str, str]) -> None:
    """Makes the call and hangs up; what goes wrong is kept in it."""
    try:
        await call.phone.dial(gateway, parameters)
        try:
            await _speak(call)
            await call.phone.hang_up()
            async with asyncio.timeout(_OVER_S):
                await call.phone.over.wait()
        finally:
            await call.phone.close()
    except Exception as error:  # of a phone that was sent something wrong, too
        call.problem = f"{type(error).__name__}: {error}"


async def _speak(call: PlacedCall) -> None:
    phone, said_frames, begin_s = call.phone, 0, time.monotonic()
    silence = np.zeros(round(_LAST_REPLY_S * phone.rate_hz), np.float32)
    voice = np.concatenate([voice_of(call.recording, phone.rate_hz), silence])
    for number, packet in enumerate(_packets(voice, phone.packet_samples)):
        await asyncio.sleep(begin_s + number * phone.packet_ms / 1000 - time.monotonic())
        if phone.over.is_set():
            raise ConnectionError("the gateway has ended the call")
        await phone.say(packet)
        frames = int((number + 1) * phone.packet_ms / 1000 / FRAME_S)
        call.said_s.extend([time.monotonic()] * (frames - said_frames))
        said_frames = frames


def voice_of(recording: RecordedCaller, rate_hz: int) -> Samples:
    """The caller's voice at a phone's rate."""
    narrow = decode_mulaw(recording.mu_law)
    return narrow if rate_hz == G711_RATE_HZ else Resampler(G711_RATE_HZ, rate_hz).push(narrow)


def _packets(voice: Samples, packet_samples: int) -> list[Samples]:
    whole = voice.size - voice.size % packet_samples
    return np.split(voice[:whole], whole // packet_samples)
