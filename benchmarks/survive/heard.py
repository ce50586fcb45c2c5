"""What a caller hears of one call: sound and text frame by frame, and what the gateway tells."""

from __future__ import annotations

import functools
import json
import math
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.online.record import OK, CallRecord
from benchmarks.survive.steps import Window
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.v1 import gateway_pb2

MOVED = gateway_pb2.Event.KIND_MOVED
FILLED = gateway_pb2.Event.KIND_FILLED
DROPPED = gateway_pb2.Event.KIND_DROPPED
GO_AWAY = gateway_pb2.Event.KIND_GO_AWAY
_IN_FLIGHT = 4  # answered frames that an lm may have read and the caller has not heard: a gateway's `inflight_frames`


@dataclass(frozen=True, slots=True)
class Told:
    """The gateway told that something happened."""

    at_s: float
    kind: int
    frames: int
    detail: str


@dataclass
class HeardCall:
    """One call; its record has what every load driver's has. Times are seconds on the driver's monotonic clock."""

    record: CallRecord
    sound: dict[int, int] = field(default_factory=dict)  # reply frame -> CRC-32 of its samples that came
    came_s: dict[int, float] = field(default_factory=dict)  # reply frame -> when the last of them came
    texts: dict[int, str] = field(default_factory=dict)  # reply frame -> piece
    told: list[Told] = field(default_factory=list)
    undisturbed_frames: float = math.inf
    """Reply frames before the first that a fill or a drop may concern: the caller's audio decides them alone."""
    remembered_until: float = math.inf
    """Reply frame from which its lm knows only the last window of a longer call: it moved then."""
    comparable_until_s: float = math.inf
    """When its models' state became another than an undisturbed call's."""
    resume_token: str = ""
    remembered_frames: int = 0  # of the conversation that it goes on with
    forgotten_frames: int = 0  # of that conversation: heard, and lost with their gateway
    gateway_leaves: bool = False  # it has said so
    shut_down: bool = False  # the gateway ended the call, which may go on on another

    def listen(self, message: gateway_pb2.ConverseResponse) -> None:
        """Something came from the gateway."""
        kind = message.WhichOneof("message")
        if kind == "audio":
            self._hear(message.audio)
        elif kind == "text":
            self.texts[message.text.frame_index] = message.text.piece
        elif kind == "event":
            self._note(message.event)
        elif kind == "started":
            self._begin(message.started)
        elif kind == "ended":
            self.shut_down = message.ended.reason == gateway_pb2.Ended.REASON_SHUTDOWN

    @property
    def is_cut(self) -> bool:
        """Whether it began and then ended before its caller hung up."""
        return bool(self.resume_token) and (self.record.outcome != OK or self.shut_down)

    @property
    def heard_frames(self) -> int:
        """Of the conversation, as far as its model may know of them."""
        return self.remembered_frames + self.record.reply_frames

    def times(self, kind: int, window: Window) -> list[Told]:
        """What was told of this kind within the window."""
        return [told for told in self.told if told.kind == kind and window.holds(told.at_s)]

    @property
    def exact(self) -> bool:
        """Whether every frame is accounted for, by the gateway's count and by the caller's. True where it has none."""
        counters = self.record.counters
        if counters is None:
            return True
        stepped = counters.frames_in + counters.frames_filled - counters.frames_dropped
        answered = counters.frames_out + counters.reply_frames_dropped
        moves = sum(told.kind == MOVED for told in self.told)
        return stepped == answered and counters.moves == moves and self.record.agrees and not self.record.deficit

    def _begin(self, started: gateway_pb2.Started) -> None:
        self.resume_token = started.resume_token
        self.remembered_frames = started.resumption.remembered_frames
        self.forgotten_frames = started.resumption.lost_frames

    def _hear(self, audio: gateway_pb2.ReplyAudio) -> None:
        frame = audio.first_sample // self.record.line.frame_samples
        self.sound[frame] = zlib.crc32(audio.data, self.sound.get(frame, 0))
        self.came_s[frame] = time.monotonic()

    def _note(self, event: gateway_pb2.Event) -> None:
        self.told.append(Told(time.monotonic(), event.kind, event.frames, event.detail))
        if event.kind in (FILLED, DROPPED):
            self.undisturbed_frames = min(self.undisturbed_frames, event.frame_index)
        elif event.kind == MOVED and event.detail.startswith("lm:"):
            if event.frame_index + _IN_FLIGHT > context_frames():
                self.remembered_until = min(self.remembered_until, event.frame_index)
        elif event.kind == GO_AWAY:
            self.gateway_leaves |= event.detail.startswith("the gateway")


@dataclass(frozen=True)
class Difference:
    """Two calls with the same audio and seed, frame by frame."""

    frames: int = 0  # that were compared
    texts: int = 0  # in which the text differs
    sounds: int = 0  # in which the samples differ, and so a token of sound or the decoder's state

    def __add__(self, other: Difference) -> Difference:
        return Difference(self.frames + other.frames, self.texts + other.texts, self.sounds + other.sounds)


@functools.cache
def context_frames() -> int:
    """So many frames the demo model looks back on."""
    return int(json.loads((DEFAULT_CHECKPOINT / "config.json").read_text(encoding="utf-8"))["context"])


def difference(call: HeardCall, undisturbed: HeardCall, window: Window) -> Difference:
    """Of the frames of `call` that came within the window, as far as nothing was filled in or dropped, and the lm's
    state is the one that was there.
    """
    frames = _common_frames(call, undisturbed, window)
    return _difference(call, undisturbed, [frame for frame in frames if frame < call.remembered_until])


def difference_behind_the_context(call: HeardCall, undisturbed: HeardCall, window: Window) -> Difference:
    """The same of the frames behind a move of an lm that read only the last window of a longer call."""
    frames = _common_frames(call, undisturbed, window)
    return _difference(call, undisturbed, [frame for frame in frames if frame >= call.remembered_until])


def _difference(call: HeardCall, undisturbed: HeardCall, frames: Sequence[int]) -> Difference:
    return Difference(
        len(frames),
        sum(call.texts.get(frame) != undisturbed.texts.get(frame) for frame in frames),
        sum(call.sound[frame] != undisturbed.sound[frame] for frame in frames),
    )


def _common_frames(call: HeardCall, undisturbed: HeardCall, window: Window) -> Iterator[int]:
    """The last frame of either may not be whole."""
    until = min(min(max(one.sound, default=0), one.undisturbed_frames) for one in (call, undisturbed))
    for frame, came_s in call.came_s.items():
        comparable = frame < until and came_s < call.comparable_until_s and frame in undisturbed.sound
        if comparable and window.holds(came_s):
            yield frame
