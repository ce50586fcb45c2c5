"""Moves in simulated time: workers are lost, hang, drain, are full or fail to open, at any moment of a call."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from moshi_cluster.audio.frame import FRAME_S, FRAME_SAMPLES
from moshi_cluster.services.common.errors import NoFreeSlot, Unavailable
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.hop_times import HopTimes
from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.calls.mover import MovePlan, MoveReason
from moshi_cluster.services.gateway.calls.pipeline import Pipeline
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.workers.move_turns import MoveTurns
from moshi_cluster.v1 import codec_pb2, lm_pb2
from tests.simulated_loop import run_simulated

MEMORY_FRAMES = 5  # of the codec
CALL_FRAMES = 40
INFLIGHT_FRAMES = 4
PLAN = MovePlan(
    answer_timeout_s=1.0, give_up_s=5.0, open_timeout_s=10.0, encode_frames=MEMORY_FRAMES, decode_frames=MEMORY_FRAMES
)


@dataclass(frozen=True)
class Fate:
    """What becomes of the streams that are opened on one worker."""

    opens: str = "well"  # or "full", "lost"
    open_s: float = 0.0
    step_s: float = 0.01
    drains_after_s: float | None = None
    lost_after_s: float | None = None
    hangs_after_s: float | None = None
    ends_after_frames: int | None = None
    """Its first stream ends by itself, although nothing else is the matter."""
    longest_step_s: float = 0.0  # as the worker tells


WELL = Fate()
moments_s = st.none() | st.floats(0.0, 3.0)


def fates(hang: bool) -> st.SearchStrategy[list[Fate]]:
    """hang: whether some may."""
    one = st.builds(
        Fate,
        st.sampled_from(["well", "well", "well", "full", "lost"]),
        st.sampled_from([0.0, 0.05, 0.3, 1.0]),
        st.sampled_from([0.001, 0.01, 0.06]),
        moments_s,
        moments_s,
        moments_s if hang else st.none(),
        st.none() | st.integers(0, 20),
    )
    return st.lists(one, max_size=6)


@dataclass(eq=False)
class FakeMux:
    bundles_heard: int = 0


class FakeWorker:
    """As a gateway sees one."""

    def __init__(self, service: str, fate: Fate) -> None:
        self.service = service
        self.draining = asyncio.Event()
        self.mux = FakeMux()
        self.worst_step_s = fate.longest_step_s
        self.grace_left_s = 30.0
        self.is_lost = asyncio.Event()
        self.hangs = False
        loop = asyncio.get_running_loop()
        for after_s, happens in (
            (fate.drains_after_s, self.draining.set),
            (fate.lost_after_s, self.is_lost.set),
            (fate.hangs_after_s, self._hang),
        ):
            if after_s is not None:
                loop.call_later(after_s, happens)

    def failed(self) -> None:
        """It is asked last."""

    def _hang(self) -> None:
        self.hangs = True


Answer = Callable[[Sequence[Any]], Any]  # to the last of all inputs so far


class FakeStream:
    """One hop on a fake worker."""

    def __init__(self, name: str, worker: FakeWorker, fate: Fate, state: Sequence[Any], world: World) -> None:
        self.name, self.worker = name, worker
        self._fate = fate
        self._inputs = list(state)
        self._unread: deque[Any] = deque()
        self._something = asyncio.Event()
        self._done = self._cancelled = False
        self._answers = 0
        self._world = world
        world.open_streams += 1

    async def until_writable(self) -> None:
        await asyncio.sleep(0)

    def send_pcm(self, pcm: Any) -> None:
        self._put(int(pcm[0]))

    def send_codes(self, codes: Any) -> None:
        self._put(tuple(codes))

    def _put(self, value: Any) -> None:
        if self._cancelled or self.worker.is_lost.is_set():
            raise self.unavailable("is lost")
        assert not self._done
        self._unread.append(value)
        self._something.set()

    def done_writing(self) -> None:
        self._done = True
        self._something.set()

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._world.open_streams -= 1
            self._something.set()

    async def read(self) -> Any:
        while True:
            self._something.clear()
            if self._cancelled or self.worker.is_lost.is_set():
                raise self.unavailable("is lost")
            if self._unread and not self.worker.hangs:
                break
            if self._done and not self._unread:
                return None
            await self._wait()
        await asyncio.sleep(self._fate.step_s)
        if self.worker.is_lost.is_set():
            raise self.unavailable("is lost")  # cancelled meanwhile, it has the answer all the same
        if self.name != "decode" and self._answers == self._fate.ends_after_frames:
            return None
        self._answers += 1
        self.worker.mux.bundles_heard += 1
        self._inputs.append(self._unread.popleft())
        return ANSWERS[self.name](self._inputs)

    def unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"{self.name}: the {self.worker.service} worker {what}")

    async def _wait(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._something, self.worker.is_lost)]
        try:
            await asyncio.wait(waits, timeout=1000.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def encoded(inputs: Sequence[int]) -> codec_pb2.CodeFrame:
    return codec_pb2.CodeFrame(codes=[inputs[-1], sum(inputs[-1 - MEMORY_FRAMES :])])


def generated(inputs: Sequence[tuple[int, int]]) -> lm_pb2.GenerateResponse:
    codes = [inputs[-1][0], zlib.crc32(repr([tuple(each) for each in inputs]).encode()) % 60_000]
    frame = lm_pb2.GenerateResponse.ReplyFrame(moshi_codes=codes, text_token=len(inputs), text_piece=f" {len(inputs)}")
    return lm_pb2.GenerateResponse(frame=frame)


def decoded(inputs: Sequence[tuple[int, int]]) -> codec_pb2.PcmFrame:
    level = sum(code for codes in inputs[-1 - MEMORY_FRAMES :] for code in codes)
    return codec_pb2.PcmFrame(pcm_f32le=np.float32([inputs[-1][0], level]).tobytes())


ANSWERS: dict[str, Answer] = {"encode": encoded, "lm": generated, "decode": decoded}


def undisturbed(frames: int) -> list[tuple[float, ...]]:
    """What a caller hears of workers with whom nothing is the matter."""
    pcm = list(range(frames))
    user = [tuple(encoded(pcm[: n + 1]).codes) for n in pcm]
    moshi = [tuple(generated(user[: n + 1]).frame.moshi_codes) for n in pcm]
    return [tuple(np.frombuffer(decoded(moshi[: n + 1]).pcm_f32le, "<f4")) for n in pcm]


@dataclass
class Streams:
    """What CallStreams does for a pipeline."""

    encode: FakeStream
    lm: FakeStream
    decode: FakeStream

    def replace(self, stream: Any) -> None:
        old = getattr(self, stream.name)
        setattr(self, stream.name, stream)
        old.cancel()


class World:
    """The workers, one after the other, and the streams on them that are open. Implements Elsewhere."""

    def __init__(self, codecs: Sequence[Fate], lms: Sequence[Fate]) -> None:
        self.open_streams = 0
        self.codec_turns, self.lm_turns = MoveTurns(), MoveTurns()
        self._codecs, self._lms = iter(codecs), iter(lms)

    def both(self) -> Streams:
        """The streams that a call begins with."""
        encode, decode = self._codec(next(self._codecs, WELL))
        return Streams(encode, self._lm_of((), next(self._lms, WELL)), decode)

    async def codec_streams(self, like: Any, leave: bool) -> Any:
        fate = await self._opening(self._codecs)
        encode, decode = self._codec(fate)
        return _Both(encode, decode)

    async def lm_stream(self, like: Any, history: Any, leave: bool) -> Any:
        told = [tuple(frame.user_codes) for frame in history(None)[1]]
        return self._lm_of(told, await self._opening(self._lms))

    async def _opening(self, fates: Iterator[Fate]) -> Fate:
        fate = next(fates, WELL)
        await asyncio.sleep(fate.open_s)
        if fate.opens == "full":
            raise NoFreeSlot("full")
        if fate.opens == "lost":
            raise Unavailable("lost")
        return fate

    def _codec(self, fate: Fate) -> tuple[FakeStream, FakeStream]:
        worker = FakeWorker("codec", fate)
        return FakeStream("encode", worker, fate, (), self), FakeStream("decode", worker, fate, (), self)

    def _lm_of(self, state: Sequence[Any], fate: Fate) -> FakeStream:
        return FakeStream("lm", FakeWorker("lm", fate), fate, state, self)


@dataclass
class _Both:
    encode: FakeStream
    decode: FakeStream


@dataclass
class Told:
    """Implements MoveListener."""

    moves: list[tuple[str, MoveReason, bool]] = field(default_factory=list)
    ends: list[tuple[str, MoveReason]] = field(default_factory=list)

    def moved(self, reason: MoveReason, old: Any, new: Any, same: bool) -> None:
        assert old.service == new.service
        assert old is not new
        self.moves.append((old.service, reason, same))

    def not_moved(self, reason: MoveReason, worker: Any) -> None: ...

    def given_up(self, reason: MoveReason, worker: Any) -> None:
        self.ends.append((worker.service, reason))

    def gap(self, service: str, gap_s: float) -> None: ...


@dataclass
class Heard:
    """How a call went."""

    frames: list[tuple[float, ...]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    history: list[list[int]] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    ended_early: bool = False
    streams_left: int = 0


async def call(codecs: Sequence[Fate], lms: Sequence[Fate]) -> Heard:
    """A call of some seconds on workers with these fates, in the order in which they are asked."""
    return await talk(World(codecs, lms))


async def talk(world: World) -> Heard:
    """A call of some seconds."""
    heard, history = Heard(), History()
    inflight = asyncio.Semaphore(INFLIGHT_FRAMES)
    numbers = iter(range(CALL_FRAMES))
    loop = asyncio.get_running_loop()

    async def source() -> UserFrame | None:
        await inflight.acquire()
        if (number := next(numbers, None)) is None:
            return None
        await asyncio.sleep(max(0.0, number * FRAME_S - loop.time()))
        return UserFrame(np.full(FRAME_SAMPLES, number, np.float32), loop.time())

    def sink(frame: UserFrame, pcm: Any) -> None:
        inflight.release()
        heard.frames.append(tuple(pcm))
        heard.texts.append(frame.text_piece)

    streams: Any = world.both()
    times = HopTimes(GatewayMetrics(CollectorRegistry()), "call")
    elsewhere: Any = world
    try:
        async with asyncio.timeout(200):
            await Pipeline(streams, elsewhere, history, times, source, sink, PLAN, heard.told).run()
    except* Unavailable:
        heard.ended_early = True
    for stream in (streams.encode, streams.lm, streams.decode):
        stream.cancel()
    heard.history = [[frame.text_token, *frame.moshi_codes, *frame.user_codes] for frame in history.last()[1]]
    heard.streams_left = world.open_streams
    return heard


@settings(max_examples=200, deadline=None)
@given(st.booleans().flatmap(lambda hang: st.tuples(fates(hang), fates(hang))))
def test_wherever_workers_fail_every_frame_is_answered_once_as_if_nothing_were(
    codecs_and_lms: tuple[list[Fate], list[Fate]],
) -> None:
    codecs, lms = codecs_and_lms
    heard = run_simulated(call(codecs, lms))
    expected = undisturbed(CALL_FRAMES)
    assert heard.frames == expected[: len(heard.frames)]
    assert heard.texts == [f" {number + 1}" for number in range(len(heard.frames))]
    assert [row[0] for row in heard.history] == list(range(1, len(heard.history) + 1))
    assert heard.ended_early == bool(heard.told.ends), "it ends only when it is given up"
    assert heard.ended_early or len(heard.frames) == CALL_FRAMES
    assert all(same for _, _, same in heard.told.moves)
    hangs = any(fate.hangs_after_s is not None for fate in (*codecs, *lms))
    assert hangs or not any(reason is MoveReason.HUNG for _, reason, _ in heard.told.moves), "a loss was overlooked"
    assert heard.streams_left == 0


def test_a_call_whose_worker_is_lost_while_it_waits_to_leave_it_waits_no_longer() -> None:
    async def scenario() -> tuple[Heard, float]:
        async def others(turns: MoveTurns) -> None:
            async with turns.turn(0.0, asyncio.timeout(100.0)):
                await asyncio.sleep(50.0)

        world = World([], [Fate(drains_after_s=0.5, lost_after_s=1.0)])
        before = [asyncio.create_task(others(world.lm_turns)) for _ in range(2)]
        heard = await talk(world)
        for task in before:
            task.cancel()
        return heard, asyncio.get_running_loop().time()

    heard, ended_s = run_simulated(scenario())
    assert heard.frames == undisturbed(CALL_FRAMES)
    assert [reason for _, reason, _ in heard.told.moves] == [MoveReason.LOST]
    assert ended_s < CALL_FRAMES * FRAME_S + 1.0


def test_a_worker_that_was_halted_in_a_step_has_little_more_time_the_next_time() -> None:
    async def scenario() -> tuple[Heard, float]:
        heard = await call([], [Fate(hangs_after_s=1.0, longest_step_s=5.0)])
        return heard, asyncio.get_running_loop().time()

    heard, ended_s = run_simulated(scenario())
    assert heard.frames == undisturbed(CALL_FRAMES)
    assert [reason for _, reason, _ in heard.told.moves] == [MoveReason.HUNG]
    assert ended_s < 1.0 + 2 * PLAN.answer_timeout_s + 1.0
    assert [PLAN.hangs_after_s(longest_step_s) for longest_step_s in (0.0, 0.25, 1.0, 5.0)] == [1.0, 1.25, 2.0, 2.0]
