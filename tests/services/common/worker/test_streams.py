"""The traffic of one session, against a peer made of plain coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from moshi_cluster.services.common.errors import EngineFailed, InvalidInput, LimitReached, Unavailable
from moshi_cluster.services.common.worker.engine import Engine
from moshi_cluster.services.common.worker.session import Reply, Session
from moshi_cluster.services.common.worker.streams import Patience, pump, timing
from tests.services.fake_runner import FakeRunner, fake_program
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("any_uptime")

LONG_S = 60.0  # beyond any test
PATIENT = Patience(LONG_S, LONG_S)


@asynccontextmanager
async def session_of(runner: FakeRunner) -> AsyncIterator[Session]:
    engine = Engine([fake_program(runner)], inflight_frames=2)
    await engine.start()
    session = engine.open("fake", "spec")
    yield session
    engine.close(session)
    runner.let_all()
    await engine.stop()


async def peer(frames: Iterable[Any], hangs_up: bool = True) -> AsyncIterator[Any]:
    for frame in frames:
        yield frame
    if not hangs_up:
        await asyncio.Event().wait()


def parse(request: Any, index: int) -> Any:
    if request == "bad":
        raise InvalidInput("frame", f"frame {index} is bad")
    return request


def render(reply: Reply, index: int) -> Any:
    return index, reply.value[2]


class Reader:
    """Takes what is written."""

    def __init__(self) -> None:
        self.read: list[Any] = []

    async def write(self, message: Any) -> None:
        self.read.append(message)


async def test_pump_returns_after_the_last_reply() -> None:
    reader = Reader()
    async with session_of(FakeRunner()) as session:
        await pump(session, peer("abcde"), reader.write, parse, render, PATIENT)
    assert reader.read == [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e")]


async def test_a_bad_frame_stops_a_pump_whose_engine_is_busy() -> None:
    runner = FakeRunner()
    runner.hold()
    async with session_of(runner) as session:
        with pytest.raises(ExceptionGroup) as caught:
            await pump(session, peer(["good", "bad"], hangs_up=False), Reader().write, parse, render, PATIENT)
    assert [str(error) for error in caught.value.exceptions] == ["frame: frame 1 is bad"]


async def test_a_failing_engine_stops_a_pump_that_waits_for_its_peer() -> None:
    runner = FakeRunner()
    runner.failure = ValueError("boom")
    async with session_of(runner) as session:
        with pytest.raises(ExceptionGroup) as caught:
            await pump(session, peer(["frame"], hangs_up=False), Reader().write, parse, render, PATIENT)
    assert caught.group_contains(EngineFailed, match="ValueError")


async def test_a_failing_engine_stops_a_pump_that_waits_for_credits() -> None:
    runner = FakeRunner()
    runner.hold()
    async with session_of(runner) as session:
        pumping = asyncio.create_task(pump(session, peer(range(9)), Reader().write, parse, render, PATIENT))
        await runner.step_entered()
        runner.failure = ValueError("boom")
        runner.let_all()
        with pytest.raises(ExceptionGroup) as caught:
            await pumping
    assert caught.group_contains(EngineFailed)


async def test_a_peer_that_neither_sends_nor_hangs_up_is_given_up() -> None:
    async with session_of(FakeRunner()) as session:
        with pytest.raises(ExceptionGroup) as caught:
            await pump(session, peer("a", hangs_up=False), Reader().write, parse, render, Patience(LONG_S, 0.05))
    assert caught.group_contains(LimitReached, match="no frame came")


async def test_a_peer_that_does_not_read_is_given_up() -> None:
    async def write(message: Any) -> None:
        await asyncio.Event().wait()

    async with session_of(FakeRunner()) as session:
        with pytest.raises(ExceptionGroup) as caught:
            await pump(session, peer("abcde"), write, parse, render, Patience(LONG_S, 0.05))
    assert caught.group_contains(LimitReached, match="no reply was read")


async def test_a_peer_that_has_sent_nothing_is_given_up_sooner_than_one_that_has() -> None:
    impatient = Patience(first_frame_s=0.05, idle_s=LONG_S)
    async with session_of(FakeRunner()) as session:
        with pytest.raises(ExceptionGroup) as caught:
            await pump(session, peer("", hangs_up=False), Reader().write, parse, render, impatient)
    assert caught.group_contains(LimitReached, match="^no first frame came$")
    async with session_of(FakeRunner()) as session:
        pumping = asyncio.create_task(
            pump(session, peer("a", hangs_up=False), Reader().write, parse, render, impatient)
        )
        await asyncio.sleep(0.2)
        assert not pumping.done()
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)


async def test_a_stopping_worker_ends_a_pump_after_the_replies_that_are_there() -> None:
    reader = Reader()
    async with session_of(FakeRunner()) as session:
        pumping = asyncio.create_task(pump(session, peer("ab", hangs_up=False), reader.write, parse, render, PATIENT))
        await eventually(lambda: len(reader.read) == 2)
        session.fail(Unavailable("the worker stops"))
        with pytest.raises(ExceptionGroup) as caught:
            await pumping
    assert caught.group_contains(Unavailable, match="the worker stops")


async def test_a_cancelled_pump_leaves_no_task() -> None:
    async with session_of(FakeRunner()) as session:
        pumping = asyncio.create_task(pump(session, peer("a", hangs_up=False), Reader().write, parse, render, PATIENT))
        await session.ready
        pumping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pumping


def test_times_are_told_in_whole_microseconds() -> None:
    hop = timing(Reply(None, queue_s=0.0015004, step_s=0.02, batch_size=3))
    assert (hop.queue_us, hop.step_us, hop.batch_size) == (1500, 20000, 3)
