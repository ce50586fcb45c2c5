"""Resuming of a lost call: what a client keeps of it, and when it tries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.clients.telephony.wire_formats import samples_in
from moshi_cluster.v1 import gateway_pb2

_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0)  # about as long as a lost call is kept


@dataclass(frozen=True)
class Resume:
    """What goes on with a lost conversation."""

    token: str = field(repr=False)
    heard_frames: int  # reply frames of the whole conversation


class HeardReply:
    """Counts the reply frames of a conversation over gRPC, all its calls together."""

    def __init__(self) -> None:
        self._started = gateway_pb2.Started()
        self._samples = 0

    def begin(self, started: gateway_pb2.Started) -> None:
        """Another call is up."""
        self._started = started
        self._samples = 0

    def audio(self, audio: gateway_pb2.ReplyAudio) -> None:
        """A packet came."""
        self._samples = audio.first_sample + samples_in(len(audio.data), self._started.output_format.encoding)

    @property
    def resume(self) -> Resume | None:
        """What would go on with it; None where nothing can."""
        if not self._started.resume_token:
            return None
        frames = int(self._samples / (FRAME_S * self._started.output_format.sample_rate_hz))
        return Resume(self._started.resume_token, self._started.resumption.remembered_frames + frames)


class Attempts:
    """When to try to go on: again and again after a loss, from the beginning once that has succeeded."""

    def __init__(self) -> None:
        self._delays_s: Iterator[float] = iter(_DELAYS_S)

    def succeeded(self) -> None:
        """The call goes on."""
        self._delays_s = iter(_DELAYS_S)

    def delay_s(self) -> float | None:
        """How long to wait before the next attempt; None: there is none."""
        return next(self._delays_s, None)


def resumed_start(start: gateway_pb2.Start, resume: Resume | None) -> gateway_pb2.Start:
    """The `start` of the call that goes on with a lost one, or of the first one."""
    if resume is None:
        return start
    going_on = gateway_pb2.Start()
    going_on.CopyFrom(start)
    going_on.resume_token, going_on.resume_heard_frames = resume.token, resume.heard_frames
    return going_on


def resumed_words(remembered_frames: int, lost_frames: int) -> str:
    """What is left of a conversation, for people."""
    forgotten = f", {lost_frames * FRAME_S:.2g} s are forgotten" if lost_frames else ""
    return f"the conversation goes on after {remembered_frames * FRAME_S:.1f} s{forgotten}"
