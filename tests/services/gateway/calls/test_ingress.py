"""Ingress in simulated time: every frame is taken, waiting or dropped, and every drop is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.calls.clock import TOGETHER_FRAMES_MAX, CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import EventKind, PendingEvents
from moshi_cluster.services.gateway.calls.ingress import Ingress
from moshi_cluster.services.gateway.metrics import GatewayMetrics

START_S = 50.0
FLOATS = AudioFormat(Encoding.PCM_F32LE, 24_000)


class SimulatedCaller:
    """An ingress, and a caller in time that the test lets pass."""

    def __init__(self, backlog_frames: int = 8, clock: CallerClock | None = None) -> None:
        self.registry = CollectorRegistry()
        self.counters = CallCounters(GatewayMetrics(self.registry))
        self.pending = PendingEvents(START_S)
        clock = clock or CallerClock(START_S, 0.1, backlog_frames)
        self.ingress = Ingress(FLOATS, clock, self.counters, self.pending)
        self.now_s = START_S
        self.taken: list[np.ndarray] = []
        self.told = dict.fromkeys(EventKind, 0)

    def say(self, *levels: float) -> int:
        """A frame of each level in one packet."""
        return self.ingress.feed(np.repeat(np.array(levels, "<f4"), FRAME_SAMPLES).tobytes(), self.now_s)

    def wait(self, seconds: float) -> None:
        """Time passes; the gaps are filled when they are due."""
        end_s = self.now_s + seconds
        while self.ingress.next_deadline_s <= end_s:
            self.now_s = max(self.now_s, self.ingress.next_deadline_s)
            self.ingress.fill(self.now_s)
        self.now_s = end_s

    def take(self, frames: int | None = None) -> list[float]:
        """Takes waiting frames, all of them by default; their first samples."""
        count = len(self.ingress) if frames is None else frames
        taken = [self.ingress.take().pcm for _ in range(count)]
        self.taken += taken
        return [float(pcm[0]) for pcm in taken]

    def tell(self) -> dict[EventKind, int]:
        """What the caller is told now."""
        frames = self.pending.take(self.now_s, last=True)
        for kind, count in frames.items():
            self.told[kind] += count
        return frames

    def check(self) -> None:
        counters = self.counters
        stepped = counters.frames_in + counters.frames_filled - counters.frames_dropped
        assert stepped == len(self.taken) + len(self.ingress)
        self.tell()
        assert self.told[EventKind.FILLED] == counters.frames_filled
        assert self.told[EventKind.DROPPED] == counters.frames_dropped
        assert all(pcm.shape == (FRAME_SAMPLES,) for pcm in self.taken)


SOMETHING = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 24_000)),
    st.tuples(st.just("wait"), st.floats(0, 1.0)),
    st.tuples(st.just("take"), st.integers(0, 10)),
)


@given(story=st.lists(SOMETHING, max_size=40), backlog_frames=st.integers(1, 10))
def test_every_frame_is_taken_waiting_or_dropped(story: list[tuple[str, float]], backlog_frames: int) -> None:
    caller = SimulatedCaller(backlog_frames)
    samples = 0
    for what, amount in story:
        if what == "say":
            caller.ingress.feed(np.full(int(amount), 0.5, "<f4").tobytes(), caller.now_s)
            samples += int(amount)
        elif what == "wait":
            caller.wait(amount)
        else:
            caller.take(min(int(amount), len(caller.ingress)))
        caller.check()
        most = backlog_frames + TOGETHER_FRAMES_MAX
        assert len(caller.ingress) <= caller.counters.backlog_frames_max <= most
        assert caller.counters.samples_in == samples
    caller.ingress.end(caller.now_s)
    caller.take()
    caller.check()


@given(sizes=st.lists(st.integers(0, 5_000), max_size=20))
def test_packets_of_any_length_give_every_sample_once_and_in_order(sizes: list[int]) -> None:
    caller = SimulatedCaller(backlog_frames=1000)
    said = np.arange(1, sum(sizes) + 1, dtype="<f4") / 50_000 / 8
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        caller.ingress.feed(said[end - size : end].tobytes(), caller.now_s)
    caller.ingress.end(caller.now_s)
    caller.take()
    caller.check()
    heard = np.concatenate(caller.taken) if caller.taken else np.empty(0, "<f4")
    assert np.array_equal(heard[: said.size], said)
    assert not heard[said.size :].any()
    assert heard.size - said.size < FRAME_SAMPLES


def test_a_steady_caller_is_never_filled_in_or_dropped() -> None:
    caller = SimulatedCaller()
    for level in range(200):
        caller.wait(0.080)
        caller.say((level % 9 + 1) / 10)
        caller.take()
    assert (caller.counters.frames_in, caller.counters.frames_filled, caller.counters.frames_dropped) == (200, 0, 0)
    assert caller.counters.backlog_frames_max == 1


def test_a_silent_caller_is_filled_in_at_the_pace_of_the_model() -> None:
    caller = SimulatedCaller()
    caller.wait(0.080 + 0.099)
    assert caller.take() == []
    for _ in range(10):
        caller.wait(0.080)
        assert caller.take() == [0.0]
    assert caller.tell() == {EventKind.FILLED: 10}
    caller.check()


def test_what_was_begun_before_a_silence_leads_the_frame_filled_in() -> None:
    caller = SimulatedCaller()
    caller.ingress.feed(np.full(100, 0.25, "<f4").tobytes(), caller.now_s)
    caller.wait(0.2)
    caller.take()
    (frame,) = caller.taken
    assert (frame[:100] == 0.25).all() and not frame[100:].any()
    assert (caller.counters.frames_in, caller.counters.frames_filled) == (0, 1)


def test_a_burst_beyond_the_backlog_loses_its_oldest_frames() -> None:
    caller = SimulatedCaller(backlog_frames=4)
    for level in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        assert caller.say(level) == 1
    assert caller.take() == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert caller.tell() == {EventKind.DROPPED: 2}
    caller.check()


def test_a_second_in_one_message_is_heard_whole_and_a_second_one_at_once_is_not() -> None:
    caller = SimulatedCaller(backlog_frames=4)
    assert caller.say(*[0.1] * 12) == 12
    assert caller.tell() == {}
    caller.say(*[0.2] * 12)
    assert caller.take() == pytest.approx([0.1] * 3 + [0.2] * 12)
    assert caller.tell() == {EventKind.DROPPED: 9}
    caller.check()


def test_the_clock_is_told_which_frames_are_quiet_and_which_come_together() -> None:
    told = []

    class NotedClock(CallerClock):
        def on_frame(self, now_s: float, waiting_frames: int, quiet: bool = False, together: int = 0) -> int:
            told.append((quiet, together))
            return super().on_frame(now_s, waiting_frames, quiet, together)

    caller = SimulatedCaller(clock=NotedClock(START_S))
    caller.say(0.5, 0.0, -0.0029)
    caller.say(0.0031)
    caller.ingress.feed(np.full(FRAME_SAMPLES, -0.0031, "<f4").tobytes(), caller.now_s, 7)
    assert told == [(False, 0), (True, 1), (True, 2), (False, 0), (False, 7)]


def test_a_refused_packet_changes_nothing() -> None:
    caller = SimulatedCaller()
    caller.ingress.feed(np.full(100, 0.25, "<f4").tobytes(), caller.now_s)
    with pytest.raises(InvalidInput, match="audio.data"):
        caller.ingress.feed(bytes(5), caller.now_s)
    caller.ingress.feed(np.full(FRAME_SAMPLES - 100, 0.25, "<f4").tobytes(), caller.now_s)
    assert caller.take() == [0.25]
    assert caller.counters.samples_in == FRAME_SAMPLES


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (1919, 1), (1920, 1), (1921, 2)])
def test_the_end_completes_what_was_begun_and_nothing_else(samples: int, frames: int) -> None:
    caller = SimulatedCaller()
    caller.ingress.feed(np.full(samples, 0.5, "<f4").tobytes(), caller.now_s)
    caller.ingress.end(caller.now_s)
    assert len(caller.take()) == caller.counters.frames_in == frames


def test_a_frame_is_complete_when_its_last_sample_came() -> None:
    caller = SimulatedCaller()
    caller.ingress.feed(bytes(4 * 1000), START_S)
    caller.ingress.feed(bytes(4 * 920), START_S + 0.02)
    assert caller.ingress.take().complete_s == START_S + 0.02


def test_of_a_quiet_frame_nothing_is_missed_so_it_goes_before_the_speech_that_waits() -> None:
    caller = SimulatedCaller(backlog_frames=4)
    for level in (0.1, 0.2, 0.3, 0.4, 0.0):
        caller.say(level)
    assert caller.take() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert caller.tell() == {EventKind.DROPPED: 1}
    caller.check()


def test_without_a_waiting_frame_there_is_none_to_take() -> None:
    with pytest.raises(IndexError):
        SimulatedCaller().ingress.take()
