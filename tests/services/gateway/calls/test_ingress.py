"""The caller's side in simulated time: every frame is taken, waiting or dropped, and every drop is told."""

from __future__ import annotations

from collections import Counter as Tally

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import EventKind, PendingEvents
from moshi_cluster.services.gateway.calls.ingress import Ingress
from moshi_cluster.services.gateway.calls.spec import parse_start
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.caller import F32_24K

START_S = 50.0


class Line:
    """An edge, and a clock that the test moves."""

    def __init__(self, backlog_frames: int = 8, jitter_allowance_ms: int = 100, **fields: object) -> None:
        start = gateway_pb2.Start(**{"input_format": F32_24K, "jitter_allowance_ms": jitter_allowance_ms, **fields})
        self.counters, self.happened = CallCounters(), Tally()
        self.news = PendingEvents(lambda kind, frames: self.happened.update({kind: frames}))
        spec = parse_start(start, GatewaySettings())
        self.edge = Ingress(spec, backlog_frames, START_S, self.counters, self.news)
        self.now_s = START_S
        self.taken: list[np.ndarray] = []

    def say(self, *levels: float) -> int:
        """A frame of each level in one packet."""
        return self.edge.feed(np.repeat(np.array(levels, "<f4"), FRAME_SAMPLES).tobytes(), self.now_s)

    def wait(self, seconds: float) -> None:
        """Time passes; the gaps are filled when they are due."""
        end_s = self.now_s + seconds
        while self.edge.next_deadline_s <= end_s:
            self.now_s = max(self.now_s, self.edge.next_deadline_s)
            self.edge.fill(self.now_s)
        self.now_s = end_s

    def take(self, frames: int | None = None) -> list[float]:
        """Takes waiting frames, all of them by default; their first samples."""
        count = len(self.edge) if frames is None else frames
        taken = [self.edge.take().pcm for _ in range(count)]
        self.taken += taken
        return [float(pcm[0]) for pcm in taken]

    def check(self) -> None:
        counters = self.counters
        stepped = counters.frames_in + counters.frames_filled - counters.frames_dropped
        assert stepped == len(self.taken) + len(self.edge)
        assert self.happened[EventKind.FILLED] == counters.frames_filled
        assert self.happened[EventKind.DROPPED] == counters.frames_dropped
        assert all(pcm.shape == (FRAME_SAMPLES,) for pcm in self.taken)


SOMETHING = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 24_000)),
    st.tuples(st.just("wait"), st.floats(0, 1.0)),
    st.tuples(st.just("take"), st.integers(0, 10)),
)


@given(story=st.lists(SOMETHING, max_size=40), backlog_frames=st.integers(1, 10))
def test_every_frame_is_taken_waiting_or_dropped(story: list[tuple[str, float]], backlog_frames: int) -> None:
    line = Line(backlog_frames)
    samples = 0
    for what, amount in story:
        if what == "say":
            line.edge.feed(np.full(int(amount), 0.5, "<f4").tobytes(), line.now_s)
            samples += int(amount)
        elif what == "wait":
            line.wait(amount)
        else:
            line.take(min(int(amount), len(line.edge)))
        line.check()
        assert len(line.edge) <= backlog_frames
        assert len(line.edge) <= line.counters.backlog_frames_max <= backlog_frames
        assert line.counters.samples_in == samples
    line.edge.end(line.now_s)
    line.take()
    line.check()


@given(sizes=st.lists(st.integers(0, 5_000), max_size=20))
def test_packets_of_any_length_give_every_sample_once_and_in_order(sizes: list[int]) -> None:
    line = Line(backlog_frames=1000)
    said = np.arange(1, sum(sizes) + 1, dtype="<f4") / 50_000 / 8
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        line.edge.feed(said[end - size : end].tobytes(), line.now_s)
    line.edge.end(line.now_s)
    line.take()
    line.check()
    heard = np.concatenate(line.taken) if line.taken else np.empty(0, "<f4")
    assert np.array_equal(heard[: said.size], said)
    assert not heard[said.size :].any()
    assert heard.size - said.size < FRAME_SAMPLES


def test_a_steady_caller_is_never_filled_in_or_dropped() -> None:
    line = Line()
    for level in range(200):
        line.wait(0.080)
        line.say((level % 9 + 1) / 10)
        line.take()
    assert (line.counters.frames_in, line.counters.frames_filled, line.counters.frames_dropped) == (200, 0, 0)
    assert line.counters.backlog_frames_max == 1


def test_a_silent_caller_is_filled_in_at_the_pace_of_the_model() -> None:
    line = Line()
    line.wait(0.080 + 0.099)
    assert line.take() == []
    for _ in range(10):
        line.wait(0.080)
        assert line.take() == [0.0]
    assert line.news.take() == {EventKind.FILLED: 10}
    line.check()


def test_what_was_begun_before_a_silence_leads_the_frame_filled_in() -> None:
    line = Line()
    line.edge.feed(np.full(100, 0.25, "<f4").tobytes(), line.now_s)
    line.wait(0.2)
    line.take()
    (frame,) = line.taken
    assert (frame[:100] == 0.25).all() and not frame[100:].any()
    assert (line.counters.frames_in, line.counters.frames_filled) == (0, 1)


def test_a_burst_beyond_the_backlog_loses_its_oldest_frames() -> None:
    line = Line(backlog_frames=4)
    assert line.say(0.1, 0.2, 0.3, 0.4, 0.5, 0.6) == 6
    assert line.take() == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert line.news.take() == {EventKind.DROPPED: 2}
    line.check()


def test_the_clock_is_told_which_frames_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    told = []
    monkeypatch.setattr(line.edge._clock, "on_frame", lambda now_s, quiet: told.append(quiet) or 0)
    line.say(0.5, 0.0, -0.0029, 0.0031, -0.0031)
    assert told == [False, True, True, False, False]


def test_a_refused_packet_changes_nothing() -> None:
    line = Line()
    line.edge.feed(np.full(100, 0.25, "<f4").tobytes(), line.now_s)
    with pytest.raises(InvalidInput, match="audio.data"):
        line.edge.feed(bytes(5), line.now_s)
    line.edge.feed(np.full(FRAME_SAMPLES - 100, 0.25, "<f4").tobytes(), line.now_s)
    assert line.take() == [0.25]
    assert line.counters.samples_in == FRAME_SAMPLES


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (1919, 1), (1920, 1), (1921, 2)])
def test_the_end_completes_what_was_begun_and_nothing_else(samples: int, frames: int) -> None:
    line = Line()
    line.edge.feed(np.full(samples, 0.5, "<f4").tobytes(), line.now_s)
    line.edge.end(line.now_s)
    assert len(line.take()) == line.counters.frames_in == frames


def test_a_frame_is_complete_when_its_last_sample_came() -> None:
    line = Line()
    line.edge.feed(bytes(4 * 1000), START_S)
    line.edge.feed(bytes(4 * 920), START_S + 0.02)
    assert line.edge.take().complete_s == START_S + 0.02


def test_of_a_quiet_frame_nothing_is_missed_so_it_goes_before_the_speech_that_waits() -> None:
    line = Line(backlog_frames=4)
    line.say(0.1, 0.2, 0.3, 0.4, 0.0)
    assert line.take() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert line.news.take() == {EventKind.DROPPED: 1}
    line.check()
