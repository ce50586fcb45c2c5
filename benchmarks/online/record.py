"""Call record: what is known of one call after it has ended."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

from benchmarks.online.matching import FrameMatcher
from benchmarks.online.playback import SimulatedPlayback
from benchmarks.online.scenarios import PlannedCall
from benchmarks.online.speech import LineFormat
from moshi_cluster.v1 import gateway_pb2

OK = "OK"
REJECTED = "RESOURCE_EXHAUSTED"
NOT_ENDED = "NOT_ENDED"  # status OK, but no `ended` before it
NO_ANSWER = "NO_ANSWER"  # given up
RESUMED = "RESUMED"  # lost, and went on in a further call
_LOST = ("UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN", NO_ANSWER)


@dataclass
class CallRecord:
    """Filled while the call runs. Times are seconds on the driver's monotonic clock."""

    plan: PlannedCall
    line: LineFormat
    matcher: FrameMatcher
    playback: SimulatedPlayback
    outcome: str = ""  # OK, the status that the call ended with, or one of the above
    detail: str = ""
    opened_s: float = math.inf  # `start` was sent; infinite before
    started_s: float | None = None  # `started` came
    first_reply_s: float | None = None  # the first reply audio came
    ended_s: float = math.inf  # infinite before
    lateness_s: array[float] = field(default_factory=lambda: array("d"))  # of each packet's sending
    cut_short: bool = False  # the driver ended the run early
    reply_samples: int = 0  # that came
    reply_position: int = 0  # the sample after the last one that came
    reply_frames: int = 0  # whose last sample came
    reply_dropped: int = 0  # told by the gateway
    gaps: int = 0  # places where a packet does not begin where the one before it ended
    counters: gateway_pb2.Counters | None = None  # the gateway's own, at the end
    reply_line: LineFormat | None = None  # of the reply; None: the same
    started: gateway_pb2.Started = field(repr=False, default_factory=gateway_pb2.Started)
    shut_down: bool = False  # the gateway ended it because it stops

    @property
    def is_over(self) -> bool:
        """Whether the call was made and has ended, well or not."""
        return self.ended_s < math.inf

    @property
    def is_cut(self) -> bool:
        """Whether it was lost on the way and can be resumed."""
        lost = self.outcome in _LOST or (self.outcome == OK and self.shut_down)
        return lost and bool(self.started.resume_token)

    @property
    def heard_frames(self) -> int:
        """Of the conversation: of those that it went on with, and its own."""
        return self.started.resumption.remembered_frames + self.reply_frames

    @property
    def rejected(self) -> bool:
        """No slot was free."""
        return self.outcome == REJECTED and self.started_s is None

    @property
    def samples_sent(self) -> int:
        """In all packets that were sent."""
        return len(self.matcher.sent_s) * self.line.packet_samples

    @property
    def frames_sent(self) -> int:
        """Frames of 80 ms that the sent packets make, the last completed with silence.

        Where silence was filled in within a frame only the gateway knows how many frames the packets made: then they
        are its count, plus what was lost on the way to it.
        """
        if self.matcher.filled and self.counters is not None:
            lost = self.samples_sent - self.counters.samples_in
            return int(self.counters.frames_in) + -(-lost // self.line.frame_samples)
        return -(-self.samples_sent // self.line.frame_samples)

    @property
    def deficit(self) -> int:
        """Frames that are unaccounted for: sent + filled in - dropped - reply frames dropped - answered."""
        matcher = self.matcher
        return self.frames_sent + matcher.filled - matcher.dropped - self.reply_dropped - self.reply_frames

    @property
    def agrees(self) -> bool:
        """Whether the gateway's own counters say what the caller saw. True where there are none."""
        counters = self.counters
        if counters is None:
            return True
        seen = (self.samples_sent, self.reply_samples, self.reply_frames)
        told = (self.matcher.filled, self.matcher.dropped, self.reply_dropped)
        return seen == (counters.samples_in, counters.samples_out, counters.frames_out) and told == (
            counters.frames_filled,
            counters.frames_dropped,
            counters.reply_frames_dropped,
        )
