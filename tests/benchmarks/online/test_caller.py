"""A caller keeps to the schedule whatever happens to single packets; simulated time."""

from __future__ import annotations

import pytest

from benchmarks.online.caller import Caller
from benchmarks.online.impairments import SendPlan
from benchmarks.online.matching import FrameMatcher
from benchmarks.online.playback import SimulatedPlayback
from benchmarks.online.record import CallRecord
from benchmarks.online.scenarios import PlannedCall
from benchmarks.online.speech import LineFormat
from moshi_cluster.v1 import gateway_pb2

LINE = LineFormat("mulaw", 8000, 20, 20)
LOOP = [b"a", b"b", b"c"]


class FakeTime:
    """A clock that only moves when somebody sleeps, and then by a little more than asked for."""

    def __init__(self, overshoot_s: float = 0.0) -> None:
        self.now_s = 100.0
        self._overshoot_s = overshoot_s

    def read(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds + self._overshoot_s


class FakeStream:
    """Notes what is written and when; some writes take time, and one finds the call over."""

    def __init__(self, time: FakeTime, slow: dict[int, float] | None = None, over_at: int = -1) -> None:
        self.written: list[tuple[float, bytes]] = []
        self.half_closed = False
        self._time = time
        self._slow = slow or {}
        self._over_at = over_at

    async def write(self, message: bytes) -> bool:
        if len(self.written) == self._over_at:
            return False
        self.written.append((self._time.now_s, message))
        self._time.now_s += self._slow.get(len(self.written) - 1, 0.0)
        return True

    async def half_close(self) -> None:
        self.half_closed = True


def caller(time: FakeTime, packets: int) -> Caller:
    plan = SendPlan(list(range(packets)), [index * 0.02 for index in range(packets)])
    record = CallRecord(PlannedCall(0, 0.0, packets // 4), LINE, FrameMatcher(8000, 160), SimulatedPlayback())
    return Caller(record, gateway_pb2.Start(), LOOP, 1, plan, now_s=time.read, sleep=time.sleep)


async def test_late_wake_ups_never_add_up() -> None:
    time = FakeTime(overshoot_s=0.003)
    speaker, stream = caller(time, 3000), FakeStream(time)
    await speaker.speak(stream, begin_s=100.0)
    times = [at_s for at_s, _ in stream.written]
    assert times[-1] == pytest.approx(100.0 + 2999 * 0.02 + 0.003)
    assert max(speaker.record.lateness_s) == pytest.approx(0.003)
    assert stream.half_closed


async def test_a_stalled_write_delays_only_what_was_due_meanwhile() -> None:
    time = FakeTime()
    speaker, stream = caller(time, 100), FakeStream(time, slow={10: 0.1})
    await speaker.speak(stream, begin_s=100.0)
    times = [at_s for at_s, _ in stream.written]
    assert times[11:15] == pytest.approx([100.3] * 4)
    assert times[16:] == pytest.approx([100 + index * 0.02 for index in range(16, 100)])
    assert list(speaker.record.lateness_s)[11:16] == pytest.approx([0.08, 0.06, 0.04, 0.02, 0.0], abs=1e-9)


async def test_the_recording_is_looped_from_the_callers_own_place() -> None:
    time = FakeTime()
    stream = FakeStream(time)
    await caller(time, 5).speak(stream, begin_s=100.0)
    assert [message for _, message in stream.written] == [b"b", b"c", b"a", b"b", b"c"]


async def test_who_hangs_up_says_nothing_more_and_closes_well() -> None:
    time = FakeTime()
    speaker, stream = caller(time, 5), FakeStream(time)
    speaker.hang_up()
    await speaker.speak(stream, begin_s=100.0)
    assert (stream.written, stream.half_closed) == ([], True)


async def test_a_call_that_is_over_ends_the_speaking() -> None:
    time = FakeTime()
    stream = FakeStream(time, over_at=3)
    await caller(time, 10).speak(stream, begin_s=100.0)
    assert len(stream.written) == 3
