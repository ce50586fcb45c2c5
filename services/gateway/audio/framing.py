"""Packets of any length to the model's frames, and reply frames to packets of the length asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moshi_cluster.audio.frame import FRAME_SAMPLES, MODEL_RATE_HZ
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.gateway.audio.formats import AudioFormat
from moshi_cluster.services.gateway.audio.transcode import NO_SAMPLES, AudioEncoder


@dataclass(frozen=True, slots=True)
class PaddedFrame:
    """A frame that the caller began and silence completed."""

    samples: Samples
    """[1920] at 24 kHz."""
    silence_samples: int
    """How many of them, at the end, are silence: 1 to 1919."""


class FrameAssembler:
    """Joins packets of 24 kHz samples into frames."""

    def __init__(self) -> None:
        self._frame = np.empty(FRAME_SAMPLES, dtype=np.float32)
        self.pending_samples = 0
        """Samples waiting for the rest of their frame: 0 to 1919."""

    def push(self, samples: Samples) -> list[Samples]:
        """The frames [1920] that these samples complete; the rest is kept."""
        frames = []
        taken = 0
        while taken < samples.size:
            count = min(FRAME_SAMPLES - self.pending_samples, samples.size - taken)
            self._frame[self.pending_samples : self.pending_samples + count] = samples[taken : taken + count]
            self.pending_samples += count
            taken += count
            if self.pending_samples == FRAME_SAMPLES:
                frames.append(self._take())
        return frames

    def flush(self, tail: Samples = NO_SAMPLES) -> PaddedFrame | None:
        """Completes the frame that was begun with silence; None when none was.

        `tail` is what the decoder's filter still holds: it goes in front of the silence as far as there is room. It
        never begins a frame, so whole frames of audio stay that many frames and the last 2.5 ms at most go unheard.
        Also for a caller who falls silent in the middle of a frame: what they said begins the frame filled in then.
        """
        if self.pending_samples == 0:
            return None
        room = FRAME_SAMPLES - self.pending_samples
        self.push(tail[: room - 1])
        silence = FRAME_SAMPLES - self.pending_samples
        self._frame[self.pending_samples :] = 0.0
        return PaddedFrame(self._take(), silence)

    def _take(self) -> Samples:
        whole = self._frame
        self._frame = np.empty(FRAME_SAMPLES, dtype=np.float32)
        self.pending_samples = 0
        return whole


@dataclass(frozen=True, slots=True)
class ReplyPacket:
    """A piece of the reply, ready for the wire."""

    data: bytes
    first_sample: int
    """Position in the reply, in samples at the caller's rate, from 0."""
    samples: int
    """Length in samples at the caller's rate."""
    frames_ended: int
    """Reply frames whose last sample is in this packet. A frame counts as sent or dropped with that packet, so that
    frames stay exact when packets are not frames."""


class ReplyCutter:
    """Reply frames to packets of exactly `packet_ms`, the last one of the call excepted.

    The delay of the resampler (2.5 ms at most) stays at the front of the reply and is not made up for at its end: each
    frame gives exactly 80 ms of sound at once. Trimming it instead would hold the last packet of every frame back until
    the next frame came.
    """

    def __init__(self, target: AudioFormat, packet_ms: int) -> None:
        """`packet_ms` as checked by `formats.parse_reply_packet_ms`."""
        self._encoder = AudioEncoder(target, packet_ms)
        self._packet_samples = target.rate_hz * packet_ms // 1000
        self._frame_samples = target.rate_hz * FRAME_SAMPLES // MODEL_RATE_HZ
        self._rest: Samples = NO_SAMPLES
        self._cut_samples = 0

    @property
    def delay_samples(self) -> int:
        """How much later a sound is in the packets than in the frames, at the caller's rate."""
        return self._encoder.delay_samples

    def push(self, frame: Samples) -> list[ReplyPacket]:
        """The packets that this frame [1920] completes; the rest is kept."""
        ready = self._encoder.resample(frame)
        if self._rest.size:
            ready = np.concatenate((self._rest, ready))
        whole = ready.size - ready.size % self._packet_samples
        self._rest = ready[whole:]
        return list(self._cut(ready[:whole]))

    def flush(self) -> list[ReplyPacket]:
        """The end of the reply: the rest as one shorter packet, or nothing."""
        rest, self._rest = self._rest, NO_SAMPLES
        return list(self._cut(rest))

    def _cut(self, ready: Samples) -> Iterator[ReplyPacket]:
        for start in range(0, ready.size, self._packet_samples):
            piece = ready[start : start + self._packet_samples]
            first = self._cut_samples
            self._cut_samples += piece.size
            frames_ended = self._cut_samples // self._frame_samples - first // self._frame_samples
            yield ReplyPacket(self._encoder.encode(piece), first, piece.size, frames_ended)
