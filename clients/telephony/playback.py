"""The playback buffer: it catches up when it falls behind, so that a stall never becomes a delay that stays."""

from __future__ import annotations

import threading
from array import array

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.telephony.wire_formats import S16Samples

# The constants of upstream's web client.
INITIAL_MS = 80  # queued before playback starts
PARTIAL_MS, PARTIAL_STEP_MS = 10, 5  # waited after that; more after each underrun
MAX_MS, MAX_STEP_MS = 10, 5  # beyond both, the oldest is dropped; more after each drop
LIMIT_MS = 80  # of partial and of max

_LOUDEST = 32_767


class PlaybackBuffer:
    """Samples come in as they arrive and go out as they are played; all counts are samples. Knows no clock.

    Starts once 80 ms are queued and after a short wait. Holds at most 100 to 240 ms: more, and the oldest are dropped.
    Filled by one thread and emptied by another.
    """

    def __init__(self, rate_hz: int = MODEL_RATE_HZ) -> None:
        """rate_hz: of the samples."""
        self.played = 0
        self.dropped = 0
        self.missed = 0  # silence put in after the first sound
        self.underruns = 0
        self.drops = 0
        self._rate_hz = rate_hz
        self._lock = threading.Lock()
        self._queue: S16Samples = array("h")
        self._partial = self._samples_of(PARTIAL_MS)
        self._max = self._samples_of(MAX_MS)
        self._wait = 0  # of silence before the next sound
        self._started = self._fade_in = self._sounded = False

    @property
    def queued(self) -> int:
        """Samples that wait."""
        return len(self._queue)

    @property
    def limit(self) -> int:
        """So many samples are never queued."""
        return self._target + self._max

    def push(self, samples: S16Samples) -> None:
        """Takes what arrived; drops the oldest when too much waits."""
        with self._lock:
            self._push(samples)

    def pull(self, count: int) -> S16Samples:
        """The next `count` samples to play; silence where there are none."""
        with self._lock:
            return self._pull(count)

    def clear(self) -> None:
        """Throws away what waits: the caller has barged in."""
        with self._lock:
            self.dropped += self.queued
            del self._queue[:]
            self._started = False

    def _push(self, samples: S16Samples) -> None:
        self._queue.extend(samples)
        if not self._started and self.queued >= self._samples_of(INITIAL_MS):
            self._started = self._fade_in = True
            self._wait = self._partial
        if self.queued >= self.limit:
            self._drop_to(self._target)

    def _pull(self, count: int) -> S16Samples:
        if not self._started or self._wait > 0:
            self._wait = max(0, self._wait - count)
            self.missed += count if self._sounded else 0
            return silence(count)
        found = self._queue[:count]
        del self._queue[:count]
        self.played += len(found)
        self._sounded = True
        if self._fade_in:
            _fade(found, rising=True)
            self._fade_in = False
        if len(found) < count:
            self._underrun(found, count)
        return found

    def _samples_of(self, milliseconds: int) -> int:
        return milliseconds * self._rate_hz // 1000

    @property
    def _target(self) -> int:
        return self._samples_of(INITIAL_MS) + self._partial

    def _underrun(self, found: S16Samples, count: int) -> None:
        _fade(found, rising=False)
        self.missed += count - len(found)
        found.extend(silence(count - len(found)))
        self.underruns += 1
        self._started = False
        self._partial = min(self._samples_of(LIMIT_MS), self._partial + self._samples_of(PARTIAL_STEP_MS))

    def _drop_to(self, count: int) -> None:
        surplus = self.queued - count
        del self._queue[:surplus]
        self.dropped += surplus
        self.drops += 1
        self._max = min(self._samples_of(LIMIT_MS), self._max + self._samples_of(MAX_STEP_MS))


def silence(count: int) -> S16Samples:
    """So many samples of silence."""
    return array("h", bytes(2 * count))


def _fade(samples: S16Samples, rising: bool) -> None:
    length = len(samples)
    for index, sample in enumerate(samples):
        gain = (index + 0.5) / length
        samples[index] = max(-_LOUDEST, min(_LOUDEST, round(sample * (gain if rising else 1 - gain))))
