"""When the model must be stepped although the caller has said nothing, and when he has said too much.

Time is a row of slots of one frame each on an absolute schedule. Every frame the caller completes takes the next slot;
a slot still empty `jitter_allowance_s` after its end is filled with silence. Lead is how much earlier than the end of
its slot a frame came.

Sound that arrives after its slot was filled takes a later slot, so the conversation would run ahead of real time and
the caller would hear every answer that much later from then on. Hence each filled frame is owed one dropped frame:

- Up to the backlog limit the late sound is absorbed: the model hears all of it at once. If the caller is then still
  ahead after `SETTLE_S`, one frame is dropped per slot until he is back at his place, within a second in all. A caller
  who falls behind again meanwhile loses nothing, and one who was truly silent (DTX, hold) resumes at his place and owes
  nothing. Frames known to be quiet are dropped first, without waiting.
- Beyond the limit the oldest waiting frames are dropped at once.

A caller's own clock is never exact: the schedule follows the late edge of his frames at up to `LATER_PPM` and
`EARLIER_PPM`, slower than any stall and faster than any crystal.
"""

from dataclasses import dataclass

from moshi_cluster.audio.pcm import FRAME_S

SETTLE_S = 0.32
"""A lead must last this long before frames are dropped for it: longer than the bursts of a jittery network."""

ABSORBED_FRAMES_MAX = 6
"""Most late frames ever absorbed, whatever the backlog limit: more could not be made up for within a second."""

LATER_PPM = 1_000
EARLIER_PPM = 250
"""Four to one: with random jitter the schedule settles where one frame in five is late, near the late edge."""

_AHEAD_S = 0.75 * FRAME_S
"""A caller who is less ahead cannot be told from one with jitter, and dropping a frame would make him late."""

_BURST_S = 0.5 * FRAME_S
"""Frames that follow each other faster came in one burst; only the first tells how late the line is."""


@dataclass(frozen=True, slots=True)
class ClockCounters:
    """frames_in + frames_filled - frames_dropped = frames_stepped + backlog_frames, always."""

    frames_in: int
    frames_filled: int
    frames_dropped: int
    frames_stepped: int
    backlog_frames: int
    backlog_frames_max: int


class CallerClock:
    """One call's clock. Keeps the count of the frames that wait to be stepped; the frames themselves wait with whoever
    calls these methods, in a queue whose oldest is stepped first.

    Every `now_s` is a time on one monotonic clock, in seconds, and never smaller than the one before.
    """

    def __init__(self, start_s: float, jitter_allowance_s: float = 0.1, backlog_limit_frames: int = 6) -> None:
        """The first slot ends one frame after `start_s`; the schedule then follows the first frame of all."""
        if not jitter_allowance_s > 0:
            raise ValueError(f"jitter_allowance_s: must be positive, got {jitter_allowance_s}")
        if backlog_limit_frames < 1:
            raise ValueError(f"backlog_limit_frames: must be at least 1, got {backlog_limit_frames}")
        self._allowance_s = jitter_allowance_s
        self._backlog_limit = backlog_limit_frames
        self._absorbed_max_s = (min(backlog_limit_frames, ABSORBED_FRAMES_MAX) + 0.5) * FRAME_S
        self._lead_max_s = (backlog_limit_frames + 0.5) * FRAME_S
        self._anchor_s = start_s
        self._slots_taken = 0
        self._owed = 0
        self._heard = False
        self._last_frame_s = start_s
        self._edge_lead_s = 0.0
        self._ahead_since_s: float | None = None
        self._frames_in = self._filled = self._dropped = self._stepped = self._backlog_max = 0

    @property
    def next_deadline_s(self) -> float:
        """When `due` next has something to say."""
        return self._slot_end_s() + self._allowance_s

    @property
    def counters(self) -> ClockCounters:
        return ClockCounters(
            self._frames_in, self._filled, self._dropped, self._stepped, self._backlog(), self._backlog_max
        )

    def on_frame(self, now_s: float, quiet: bool = False) -> int:
        """The caller has completed a frame, which joins the queue. Returns how many of the oldest to drop from it.

        `quiet` says that nothing would be missed of this frame.
        """
        self._frames_in += 1
        if not self._heard:
            self._heard = True
            self._anchor_s += now_s - self._slot_end_s()
        lead_s = self._slot_end_s() - now_s
        if now_s - self._last_frame_s >= _BURST_S:
            self._note_lead(lead_s, now_s)
        self._last_frame_s = now_s
        self._slots_taken += 1
        dropped = self._drop_for_lead(lead_s, now_s, quiet) + self._drop_for_backlog(lead_s)
        self._backlog_max = max(self._backlog_max, self._backlog())
        return dropped

    def due(self, now_s: float) -> int:
        """How many frames of silence join the queue now."""
        filled = 0
        while self.next_deadline_s <= now_s:
            self._slots_taken += 1
            self._owed += 1
            # With a full backlog the model has enough to do: the slot passes empty.
            if self._backlog() < self._backlog_limit:
                self._filled += 1
                filled += 1
        self._backlog_max = max(self._backlog_max, self._backlog())
        return filled

    def on_step(self) -> None:
        """The oldest frame has left the queue for the model."""
        if self._backlog() == 0:
            raise RuntimeError("no frame is waiting")
        self._stepped += 1

    def _slot_end_s(self) -> float:
        return self._anchor_s + (self._slots_taken + 1) * FRAME_S

    def _backlog(self) -> int:
        return self._frames_in + self._filled - self._dropped - self._stepped

    def _note_lead(self, lead_s: float, now_s: float) -> None:
        self._edge_lead_s = lead_s
        if self._is_ahead():
            if self._ahead_since_s is None:
                self._ahead_since_s = now_s
            return
        self._ahead_since_s = None
        self._follow(lead_s, now_s - self._last_frame_s)

    def _is_ahead(self) -> bool:
        """Whether the caller is ahead because of what was filled in."""
        return self._owed > 0 and self._edge_lead_s >= _AHEAD_S

    def _follow(self, lead_s: float, elapsed_s: float) -> None:
        """Moves the schedule with the caller's own clock."""
        earliest_s, latest_s = -EARLIER_PPM * 1e-6 * elapsed_s, LATER_PPM * 1e-6 * elapsed_s
        self._anchor_s += min(max(-lead_s, earliest_s), latest_s)

    def _drop_for_lead(self, lead_s: float, now_s: float, quiet: bool) -> int:
        if lead_s > self._absorbed_max_s and self._owed:
            return self._settle()
        if lead_s > self._lead_max_s:
            # Nothing was filled: the caller sends faster than real time, and the schedule goes with him.
            self._anchor_s -= lead_s - self._lead_max_s
        ahead_since_s = self._ahead_since_s
        if ahead_since_s is None or not (quiet or now_s - ahead_since_s >= SETTLE_S):
            return 0
        return self._settle()

    def _drop_for_backlog(self, lead_s: float) -> int:
        if self._backlog() <= self._backlog_limit:
            return 0
        if self._owed and lead_s >= _AHEAD_S:
            return self._settle()
        self._dropped += 1
        return 1

    def _settle(self) -> int:
        """Drops a frame for one that was filled in; its slot is free again."""
        self._owed -= 1
        self._slots_taken -= 1
        self._dropped += 1
        self._edge_lead_s -= FRAME_S
        if not self._is_ahead():
            self._ahead_since_s = None
        return 1
