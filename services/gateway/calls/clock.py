"""Clock of a call: when the model is to be stepped although the caller said nothing, and when they said too much.

Time is a row of time slots of one frame each on an absolute schedule. Every frame the caller completes takes the next
one; a time slot still empty `jitter_allowance_s` after its end is filled with silence. Lead is how much earlier than
the end of its time slot a frame came.

Sound that arrives after its time slot was filled takes a later one, so the conversation would run ahead of real time
and the caller would hear every answer that much later from then on. Hence each filled frame is owed one dropped frame:

- Up to the backlog limit the late sound is absorbed: the model hears all of it at once. If the caller is then still
  ahead after `SETTLE_S`, one frame is dropped per time slot until they are back in real time, within a second in all. A
  caller who falls behind again meanwhile loses nothing, and one who was truly silent (DTX, hold) resumes in real time
  and owes nothing. Frames known to be quiet are dropped first, without waiting.
- Beyond the limit the oldest waiting frames are dropped at once.

Nobody speaks faster than time passes. What comes earlier than it can have been spoken is a recording, and to be dropped
for no reason: it waits where it is (`hold_s`), also for a model that is slower than real time. Who is half a second
ahead of what they can have said since they called sends one, until silence has to be filled in for them.

Some callers send their voice a second at a time: the frames of one message or page come together, and neither their
lead over its first frame nor their number says that the caller is ahead. Up to `TOGETHER_FRAMES_MAX` of them count as
one; and as such pages are no whole frames, the end of a time slot may lie a frame before the end of its page.

A caller's own clock is never exact: the schedule follows the late edge of their frames at up to `LATER_PPM` and
`EARLIER_PPM`, slower than any stall and faster than any crystal.
"""

from moshi_cluster.audio.frame import FRAME_S

SETTLE_S = 0.32
"""A lead must last this long before frames are dropped for it: longer than the bursts of a jittery network."""

ABSORBED_FRAMES_MAX = 6
"""Most late frames ever absorbed, whatever the backlog limit: more could not be made up for within a second."""

TOGETHER_FRAMES_MAX = 12
"""Most frames behind the first one of a message that it brings along: a second, which is the longest page that Ogg
writers make unasked and the longest message of the gRPC contract."""

LATER_PPM = 1_000
EARLIER_PPM = 250
"""Four to one: with random jitter the schedule settles where one frame in five is late, near the late edge."""

_AHEAD_S = 0.75 * FRAME_S
"""A caller who is less ahead cannot be told from one with jitter, and dropping a frame would make them late."""

_RECORDED_S = 0.5
_CLOCK_ERROR = 0.01  # more than any caller's

_BURST_S = 0.5 * FRAME_S
"""Frames that follow each other faster came in one burst; only the first tells how late the line is."""


class CallerClock:
    """Says when silence is filled in and when frames are dropped; the frames wait with whoever calls these methods.

    Every `now_s` is a time on one monotonic clock, in seconds, and never smaller than the one before.
    """

    def __init__(
        self,
        start_s: float,
        jitter_allowance_s: float = 0.1,
        backlog_limit_frames: int = 6,
        first_frame_allowance_s: float | None = None,
        called_s: float | None = None,
    ) -> None:
        """The first time slot ends one frame after `start_s`; the schedule then follows the first frame of all.

        first_frame_allowance_s: in place of the other allowance until then, for callers who may fill a packet first.
        called_s: since when they may speak; `start_s` where absent.
        """
        if not jitter_allowance_s > 0:
            raise ValueError(f"jitter_allowance_s: must be positive, got {jitter_allowance_s}")
        if backlog_limit_frames < 1:
            raise ValueError(f"backlog_limit_frames: must be at least 1, got {backlog_limit_frames}")
        self._allowance_s = jitter_allowance_s
        self._first_frame_allowance_s = first_frame_allowance_s or jitter_allowance_s
        self._backlog_limit = backlog_limit_frames
        self._absorbed_max_s = (min(backlog_limit_frames, ABSORBED_FRAMES_MAX) + 0.5) * FRAME_S
        self._lead_max_s = (backlog_limit_frames + 0.5) * FRAME_S
        self._called_s = start_s if called_s is None else called_s
        self._anchor_s = start_s
        self._spoken_before_s = 0.0  # of what came ahead of the schedule, at most so much may have been said before it
        self._slots_taken = 0
        self._owed = 0
        self._heard_frames = 0
        self._is_recorded = False
        self._in_slices = False  # frames come several at a time
        self._last_frame_s = start_s
        self._burst_lead_s = 0.0
        self._ahead_since_s: float | None = None

    @property
    def next_deadline_s(self) -> float:
        """When `due` next has something to say."""
        if not self._heard_frames:
            return self._slot_end_s() + self._first_frame_allowance_s
        return self._slot_end_s() + self._allowance_s + (FRAME_S if self._in_slices else 0.0)

    def hold_s(self, now_s: float, waiting_frames: int) -> float:
        """How long the caller's next packet is to wait where it is while so many frames wait here; 0: not at all.

        What nobody can have spoken yet waits for room. Anything else never does: the oldest frame is dropped for it.
        """
        if waiting_frames < self._backlog_limit:
            return 0.0
        if self._is_recorded:
            return FRAME_S
        if self._owed:
            return 0.0
        return max(0.0, self._slot_end_s() - now_s - self._spoken_before_s - _AHEAD_S)

    def on_frame(self, now_s: float, waiting_frames: int, quiet: bool = False, together: int = 0) -> int:
        """The caller has completed a frame, which joins those that wait. Returns how many of the oldest to drop then.

        waiting_frames: before it. quiet: nothing would be missed of this frame. together: how many frames came before
        it in the same message.
        """
        if not self._heard_frames:
            self._anchor_s += now_s - self._slot_end_s()
            self._spoken_before_s = max(0.0, now_s - FRAME_S - self._called_s - self._first_frame_allowance_s)
        self._heard_frames += 1
        if self._heard_frames * FRAME_S > (now_s - self._called_s) * (1 + _CLOCK_ERROR) + _RECORDED_S:
            self._is_recorded = True
        self._in_slices = together > 0
        together = min(together, TOGETHER_FRAMES_MAX)
        lead_s = self._slot_end_s() - now_s - together * FRAME_S
        if now_s - self._last_frame_s >= _BURST_S:
            self._observe_lead(lead_s, now_s)
        self._last_frame_s = now_s
        self._slots_taken += 1
        dropped = self._drop_for_lead(lead_s, now_s, quiet)
        return dropped + self._drop_for_backlog(lead_s, waiting_frames + 1 - dropped - together)

    def due(self, now_s: float, waiting_frames: int) -> int:
        """How many frames of silence join the `waiting_frames` that wait now."""
        filled = 0
        while self.next_deadline_s <= now_s:
            is_full = waiting_frames + filled >= self._backlog_limit
            if is_full and self._is_recorded:
                self._anchor_s += FRAME_S  # they are not late, they are held
                continue
            self._slots_taken += 1
            self._owed += 1
            # With a full backlog the model has enough to do: the time slot passes empty.
            if not is_full:
                self._is_recorded = False
                filled += 1
        return filled

    def _slot_end_s(self) -> float:
        return self._anchor_s + (self._slots_taken + 1) * FRAME_S

    def _observe_lead(self, lead_s: float, now_s: float) -> None:
        self._burst_lead_s = lead_s
        if self._is_ahead():
            if self._ahead_since_s is None:
                self._ahead_since_s = now_s
            return
        self._ahead_since_s = None
        self._follow(lead_s, now_s - self._last_frame_s)

    def _is_ahead(self) -> bool:
        """Whether the caller is ahead because of what was filled in."""
        return self._owed > 0 and self._burst_lead_s >= _AHEAD_S

    def _follow(self, lead_s: float, elapsed_s: float) -> None:
        """Moves the schedule with the caller's own clock."""
        earliest_s, latest_s = -EARLIER_PPM * 1e-6 * elapsed_s, LATER_PPM * 1e-6 * elapsed_s
        self._anchor_s += min(max(-lead_s, earliest_s), latest_s)

    def _drop_for_lead(self, lead_s: float, now_s: float, quiet: bool) -> int:
        if lead_s > self._absorbed_max_s and self._owed:
            return self._settle()
        if lead_s > self._lead_max_s:
            # Nothing was filled: the caller sends faster than real time, and the schedule goes with them.
            beyond_s = lead_s - self._lead_max_s
            self._anchor_s -= beyond_s
            self._spoken_before_s = max(0.0, self._spoken_before_s - beyond_s)
        ahead_since_s = self._ahead_since_s
        if ahead_since_s is None or not (quiet or now_s - ahead_since_s >= SETTLE_S):
            return 0
        return self._settle()

    def _drop_for_backlog(self, lead_s: float, waiting_frames: int) -> int:
        if waiting_frames <= self._backlog_limit:
            return 0
        return self._settle() if self._owed and lead_s >= _AHEAD_S else 1

    def _settle(self) -> int:
        """Drops a frame for one that was filled in; its time slot is free again."""
        self._owed -= 1
        self._slots_taken -= 1
        self._burst_lead_s -= FRAME_S
        if not self._is_ahead():
            self._ahead_since_s = None
        return 1
