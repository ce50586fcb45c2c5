"""A gateway and its model in simulated time: which frame each reply answers is known, so matching can be checked.

The caller's clock is the gateway's own; the model takes a fixed time per frame, one frame at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.online.matching import CountersThen, FrameMatcher
from moshi_cluster.services.gateway.calls.clock import CallerClock

RATE_HZ = 8000
PACKET_SAMPLES = 160
_FRAME_SAMPLES = 640
_TICK_S = 0.001
_TELL_EVERY_S = 1.0


@dataclass
class _Frame:
    last_sent_s: float | None  # of the packet that completed it; None when the gateway filled it in


@dataclass
class SimulatedCall:
    """Runs a call and tells a matcher what a caller would see. `truth[n]` is the turnaround of reply frame n."""

    send_at_s: Sequence[float]
    step_s: float = 0.03
    stall: tuple[float, float] = (0.0, 0.0)  # the model does nothing between these times
    matcher: FrameMatcher = field(default_factory=lambda: FrameMatcher(RATE_HZ, PACKET_SAMPLES))
    truth: list[float | None] = field(default_factory=list)  # None: answers silence that was filled in

    def __post_init__(self) -> None:
        self._clock = CallerClock(0.0)
        self._waiting: deque[_Frame] = deque()
        self._stepping: tuple[float, _Frame] | None = None
        self._begun_samples = self._samples_in = self._frames_in = self._filled = self._dropped = 0
        self._untold = {"filled": 0, "dropped": 0}
        self._tell_from_s = 0.0

    def run(self) -> FrameMatcher:
        """Until everything that was sent is answered."""
        sends = deque(sorted(self.send_at_s))
        now_s = 0.0
        while sends or self._waiting or self._stepping:
            self._fill(now_s)
            while sends and sends[0] <= now_s:
                self._packet(sends.popleft())
            if not sends:
                self.matcher.hung_up()
            self._step(now_s)
            now_s += _TICK_S
        self._tell(now_s, last=True)
        return self.matcher

    def _packet(self, now_s: float) -> None:
        self.matcher.sent(now_s)
        asked = self.matcher.wants_counters
        self._samples_in += PACKET_SAMPLES
        self._begun_samples += PACKET_SAMPLES
        if self._begun_samples == _FRAME_SAMPLES:
            self._begun_samples = 0
            self._frame(now_s)
            self._tell(now_s)
        if asked:
            self.matcher.counted(CountersThen(self._samples_in, self._frames_in, self._filled, self._dropped))

    def _frame(self, now_s: float) -> None:
        drops = self._clock.on_frame(now_s, len(self._waiting))
        self._frames_in += 1
        self._waiting.append(_Frame(now_s))
        for _ in range(drops):
            self._waiting.popleft()
        self._dropped += drops
        self._untold["dropped"] += drops

    def _fill(self, now_s: float) -> None:
        if filled := self._clock.due(now_s, len(self._waiting)):
            self._begun_samples = 0
            self._waiting.extend(_Frame(None) for _ in range(filled))
            self._filled += filled
            self._untold["filled"] += filled
            self._tell(now_s)

    def _tell(self, now_s: float, last: bool = False) -> None:
        if now_s < self._tell_from_s and not last:
            return
        for kind, frames in self._untold.items():
            if frames:
                self.matcher.told(len(self.truth), now_s, **{kind: frames})
                self._tell_from_s = now_s + _TELL_EVERY_S
        self._untold = dict.fromkeys(self._untold, 0)

    def _step(self, now_s: float) -> None:
        if self._stepping and self._stepping[0] <= now_s:
            frame = self._stepping[1]
            self._stepping = None
            self.matcher.replied(len(self.truth), now_s)
            self.truth.append(None if frame.last_sent_s is None else now_s - frame.last_sent_s)
        if self._stepping is None and self._waiting and not self.stall[0] <= now_s < self.stall[1]:
            self._stepping = (now_s + self.step_s, self._waiting.popleft())
