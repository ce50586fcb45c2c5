"""The engine loop against a runner that waits where the test wants it to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from moshi_cluster.services.common.errors import EngineFailed, NoFreeSlot
from moshi_cluster.services.common.worker.engine import Engine
from moshi_cluster.services.common.worker.program import PrepareStats, Program, StepStats
from moshi_cluster.services.common.worker.session import Session
from tests.services.fake_runner import FakeOverlappedRunner, FakeRunner, fake_program
from tests.services.in_process import eventually, few_turns

pytestmark = pytest.mark.usefixtures("any_uptime")


@asynccontextmanager
async def running(
    *programs: Program, stats: list[StepStats | PrepareStats] | None = None, **options: Any
) -> AsyncIterator[Engine]:
    """An engine of these programs that is warm. options: its own."""
    seen: list[StepStats | PrepareStats] = [] if stats is None else stats
    engine = Engine(programs, on_stats=seen.append, **{"inflight_frames": 8} | options)
    await engine.start()
    try:
        yield engine
    finally:
        for program in programs:
            runner = program.runner
            assert isinstance(runner, FakeRunner)
            runner.let_all()
        await engine.stop()


async def opened(engine: Engine, *specs: Any) -> list[Session]:
    """Sessions of the program "fake" that are ready, in this order."""
    sessions = [engine.open("fake", spec) for spec in specs]
    for session in sessions:
        await session.ready
    return sessions


async def values(session: Session) -> list[Any]:
    return [reply.value async for reply in session.replies()]


def engine_is_running() -> bool:
    return any(thread.name == "engine" for thread in threading.enumerate())


async def next_value(session: Session) -> Any:
    async for reply in session.replies():
        return reply.value
    raise AssertionError("no more replies")


async def test_programs_are_warmed_with_their_largest_batch_before_start_returns() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner, max_batch=3)):
        assert runner.log == [("warm", 3)]


async def test_every_frame_is_answered_once_and_in_order() -> None:
    async with running(fake_program(FakeRunner()), inflight_frames=100) as engine:
        (session,) = await opened(engine, "a")
        for frame in range(50):
            await session.submit(frame)
        session.finish()
        assert await values(session) == [("a", frame, frame) for frame in range(50)]


async def test_with_a_gather_time_a_frame_waits_for_those_who_are_expected() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner, gather_s=3600.0, late_s=3600.0)) as engine:
        one, other = await opened(engine, "one", "other")
        await one.submit(0)  # the other has said nothing yet: nobody knows when they will
        assert await next_value(one) == ("one", 0, 0)
        await other.submit(0)
        await few_turns()
        assert runner.steps == [[one.slot]], "stepped although the next frame of the first is expected"
        await one.submit(1)
        assert await next_value(other) == ("other", 0, 0)
        assert sorted(runner.steps[-1]) == sorted([one.slot, other.slot])


async def test_frames_that_arrive_while_a_step_runs_form_the_next_batch() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner)) as engine:
        a, b, c, d = await opened(engine, *"abcd")
        runner.hold()
        await a.submit(0)
        assert await runner.step_entered() == [a.slot]
        for session in (b, c, d):
            await session.submit(0)
        runner.let_one()
        assert await runner.step_entered() == [b.slot, c.slot, d.slot]


async def test_on_a_device_answers_are_delivered_while_the_next_step_runs() -> None:
    runner = FakeOverlappedRunner()
    async with running(fake_program(runner)) as engine:
        a, b = await opened(engine, *"ab")
        runner.hold()
        await a.submit(0)
        assert await runner.step_entered() == [a.slot]
        await b.submit(0)
        runner.let_one()
        assert await runner.step_entered() == [b.slot]
        assert await next_value(a) == ("a", 0, 0)
        assert [entry for entry in runner.log if entry[0] in ("launch", "step")] == [
            ("launch", [a.slot]),
            ("step", [a.slot]),
            ("launch", [b.slot]),
            ("step", [b.slot]),
        ]
        engine.close(b)  # its slot is cleaned when its step has ended
        runner.let_all()
    assert runner.log[-1] == ("close", b.slot)


async def test_on_a_device_too_a_step_that_fails_fails_the_engine() -> None:
    runner = FakeOverlappedRunner()
    async with running(fake_program(runner)) as engine:
        (session,) = await opened(engine, "a")
        runner.failure = RuntimeError("device lost")
        await session.submit(0)
        assert str(await engine.failed) == "device lost"


async def test_a_full_batch_takes_the_frames_that_have_waited_longest() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner, slots=5, max_batch=2)) as engine:
        a, b, c, d, e = await opened(engine, *"abcde")
        runner.hold()
        await a.submit(0)
        await runner.step_entered()
        for session in (e, c, d, b, a):
            await session.submit(1)
        for expected in ([c, e], [b, d], [a]):
            runner.let_one()
            assert await runner.step_entered() == [session.slot for session in expected]


async def test_a_session_with_many_frames_waiting_takes_one_row_of_a_batch() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner)) as engine:
        a, b = await opened(engine, *"ab")
        runner.hold()
        for frame in range(3):
            await a.submit(frame)
        await runner.step_entered()
        await b.submit(0)
        runner.let_one()
        assert await runner.step_entered() == [a.slot, b.slot]


async def test_the_program_whose_frame_has_waited_longest_runs_first() -> None:
    first, second = FakeRunner(), FakeRunner()
    programs = (fake_program(first, name="first"), fake_program(second, name="second"))
    async with running(*programs) as engine:
        a, b = engine.open("first"), engine.open("second")
        await a.ready
        await b.ready
        first.hold()
        second.hold()
        await a.submit(0)
        await first.step_entered()
        await b.submit(0)
        first.let_one()
        await second.step_entered()  # every program has had its turn
        await b.submit(1)
        await a.submit(1)
        second.let_one()
        await second.step_entered()
        assert len(first.steps) == 1, "the younger frame went ahead"


async def test_opening_work_is_done_piece_by_piece_between_the_steps_of_others() -> None:
    runner = FakeRunner(prepare_pieces=3)
    async with running(fake_program(runner)) as engine:
        (talking,) = await opened(engine, "talking")
        runner.hold()
        for frame in range(4):
            await talking.submit(frame)
        await runner.step_entered()
        runner.log.clear()
        joining = engine.open("fake", "joining")
        runner.let_all()
        await joining.ready
        talking.finish()
        await values(talking)
        names = [name for name, _ in runner.log]
        assert names == ["open", "prepare", "step", "prepare", "step", "prepare", "step"]


async def test_a_new_session_does_not_wait_for_long_histories() -> None:
    runner = FakeRunner(prepare_pieces=3, history_frames=int)
    async with running(fake_program(runner)) as engine:
        (talking,) = await opened(engine, 0)
        runner.hold()
        await talking.submit(0)
        await runner.step_entered()
        runner.log.clear()
        resumed, again, new = (engine.open("fake", frames) for frames in (3000, 3000, 1))
        runner.let_all()
        for session in (resumed, again, new):
            await session.ready
        assert [slot for name, slot in runner.log if name == "open"] == [new.slot, resumed.slot, again.slot]


async def test_an_engine_whose_step_never_ends_fails_and_is_left_behind() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner), look_s=0.05, stuck_looks=10, join_s=0.1) as engine:
        (session,) = await opened(engine, "a")
        runner.hold()
        await session.submit(0)
        with pytest.raises(EngineFailed, match="TimeoutError"):
            await next_value(session)
        assert isinstance(await engine.failed, TimeoutError)
        await engine.stop()
        assert engine_is_running(), "the step ended by itself"


async def test_frames_sent_before_the_session_is_ready_wait_for_it() -> None:
    runner = FakeRunner(prepare_pieces=3)
    async with running(fake_program(runner)) as engine:
        session = engine.open("fake", "a")
        await session.submit("early")
        session.finish()
        assert await values(session) == [("a", 0, "early")]
        assert session.ready.done()


async def test_submit_waits_while_too_many_frames_are_in_flight() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner), inflight_frames=2) as engine:
        (session,) = await opened(engine, "a")
        for frame in range(2):
            await session.submit(frame)
        third = asyncio.create_task(session.submit(2))
        await eventually(lambda: len(runner.steps) == 2)  # answered, but nobody has taken the answers
        await few_turns()
        assert not third.done()
        replies = session.replies()
        await anext(replies)
        await few_turns()
        assert not third.done(), "the first reply is still in its reader's hands"
        await anext(replies)
        await third
        session.finish()
        assert [reply.value[2] async for reply in replies] == [2]


async def test_replies_end_at_once_when_nothing_was_sent() -> None:
    async with running(fake_program(FakeRunner())) as engine:
        (session,) = await opened(engine, "a")
        session.finish()
        assert await values(session) == []


async def test_finish_waits_for_the_frames_in_flight() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner)) as engine:
        (session,) = await opened(engine, "a")
        runner.hold()
        for frame in range(3):
            await session.submit(frame)
        await runner.step_entered()
        session.finish()
        reader = asyncio.create_task(values(session))
        await few_turns()
        assert not reader.done()
        runner.let_all()
        assert [frame for _, _, frame in await reader] == [0, 1, 2]


async def test_a_slot_closed_in_mid_step_is_free_only_after_it_was_cleaned() -> None:
    runner = FakeRunner()
    program = fake_program(runner, slots=1)
    async with running(program) as engine:
        (leaving,) = await opened(engine, "leaving")
        runner.hold()
        await leaving.submit(0)
        await leaving.submit(1)
        await runner.step_entered()
        engine.close(leaving)
        await few_turns()
        assert program.table.used == 1
        with pytest.raises(NoFreeSlot):
            engine.open("fake")
        runner.let_all()
        await eventually(lambda: program.table.used == 0)
        assert [name for name, _ in runner.log[-2:]] == ["step", "close"], "the frame that waited was stepped"


async def test_a_slot_is_held_while_it_is_being_cleaned() -> None:
    class SlowToClean(FakeRunner):
        def close(self, slot: int) -> None:
            self.step([], [])
            super().close(slot)

    runner = SlowToClean()
    program = fake_program(runner)
    async with running(program) as engine:
        (session,) = await opened(engine, "a")
        runner.hold()
        engine.close(session)
        await runner.step_entered()
        await few_turns()
        assert program.table.used == 1
        runner.let_all()
        await eventually(lambda: program.table.used == 0)


async def test_a_late_result_never_reaches_the_next_owner_of_the_slot() -> None:
    runner = FakeRunner()
    program = fake_program(runner, slots=1)
    async with running(program) as engine:
        (leaving,) = await opened(engine, "leaving")
        runner.hold()
        await leaving.submit("late")
        await runner.step_entered()
        engine.close(leaving)
        runner.let_all()
        await eventually(lambda: program.table.used == 0)
        (coming,) = await opened(engine, "coming")
        assert coming.slot == leaving.slot
        await coming.submit("own")
        coming.finish()
        assert await values(coming) == [("coming", 0, "own")]


async def test_a_session_closed_before_the_engine_saw_it_gives_its_slot_back() -> None:
    runner = FakeRunner()
    program = fake_program(runner, slots=2)
    async with running(program) as engine:
        (other,) = await opened(engine, "other")
        runner.hold()
        await other.submit(0)
        await runner.step_entered()
        unseen = engine.open("fake", "unseen")
        engine.close(unseen)
        runner.let_all()
        await eventually(lambda: program.table.used == 1)
        assert ("open", unseen.slot) not in runner.log
        assert ("close", unseen.slot) not in runner.log


async def test_a_session_closed_between_pieces_of_opening_work_is_cleaned() -> None:
    runner = FakeRunner(prepare_pieces=3)
    program = fake_program(runner, slots=2)
    async with running(program) as engine:
        (talking,) = await opened(engine, "talking")
        runner.hold()
        for frame in range(2):
            await talking.submit(frame)
        await runner.step_entered()
        joining = engine.open("fake", "joining")
        runner.let_one()
        await runner.step_entered()
        assert ("prepare", joining.slot) in runner.log
        engine.close(joining)
        runner.let_all()
        await eventually(lambda: program.table.used == 1)
        assert ("close", joining.slot) in runner.log
        assert not joining.ready.done()


async def test_slots_are_used_again() -> None:
    program = fake_program(FakeRunner(), slots=2)
    async with running(program) as engine:
        for turn in range(6):
            (session,) = await opened(engine, turn)
            await session.submit("frame")
            assert await next_value(session) == (turn, 0, "frame")
            engine.close(session)
            await eventually(lambda: program.table.used == 0)


async def test_slot_changes_are_told() -> None:
    program = fake_program(FakeRunner())
    async with running(program) as engine:
        used: list[int] = []
        engine.on_slots_changed = lambda: used.append(program.table.used)
        session = engine.open("fake")
        engine.close(session)
        await eventually(lambda: used == [1, 0])


async def test_replies_say_what_they_waited_and_who_was_there() -> None:
    runner = FakeRunner()
    stats: list[StepStats | PrepareStats] = []
    async with running(fake_program(runner), stats=stats) as engine:
        a, b = await opened(engine, *"ab")
        assert [type(entry) for entry in stats] == [PrepareStats, PrepareStats]
        runner.hold()
        await a.submit(0)
        await runner.step_entered()
        await b.submit(0)
        await a.submit(1)
        runner.let_all()
        reply = await anext(b.replies())
        assert reply.batch_size == 2
        assert reply.queue_s > 0
        assert reply.step_s > 0
        steps = [entry for entry in stats if isinstance(entry, StepStats)]
        assert [len(step.queue_s) for step in steps] == [1, 2]
        assert steps[1].program == "fake"


async def test_a_failing_step_ends_every_session_and_the_engine() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner)) as engine:
        stepping, waiting, idle = await opened(engine, *"abc")
        runner.hold()
        await stepping.submit(0)
        await runner.step_entered()
        await waiting.submit(0)
        opening = engine.open("fake", "d")
        runner.failure = ValueError("boom")
        runner.let_all()
        assert str(await engine.failed) == "boom"
        for session in (stepping, waiting, idle, opening):
            with pytest.raises(EngineFailed, match="ValueError"):
                await values(session)
        with pytest.raises(EngineFailed):
            await opening.ready
        with pytest.raises(EngineFailed):
            engine.open("fake")


async def test_replies_delivered_before_a_failure_are_still_read() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner)) as engine:
        (session,) = await opened(engine, "a")
        runner.hold()
        await session.submit(0)
        await session.submit(1)
        await runner.step_entered()
        runner.let_one()
        await runner.step_entered()
        runner.failure = ValueError("boom")
        runner.let_all()
        replies = session.replies()
        assert (await anext(replies)).value == ("a", 0, 0)
        with pytest.raises(EngineFailed):
            await anext(replies)


async def test_a_model_that_cannot_be_warmed_makes_start_fail() -> None:
    class Broken(FakeRunner):
        def warm(self, max_batch: int) -> None:
            raise MemoryError("too large")

    engine = Engine([fake_program(Broken())], inflight_frames=1)
    with pytest.raises(MemoryError, match="too large"):
        await engine.start()
    await engine.stop()


async def test_a_start_that_is_cancelled_waits_for_nothing_and_the_thread_ends_once_it_is_warm() -> None:
    class Slow(FakeRunner):
        def warm(self, max_batch: int) -> None:
            self.step([], [])

    runner = Slow()
    runner.hold()
    engine = Engine([fake_program(runner)], inflight_frames=1)
    problems: list[dict[str, Any]] = []
    engine.loop.set_exception_handler(lambda loop, context: problems.append(context))
    starting = asyncio.create_task(engine.start())
    await runner.step_entered()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert engine_is_running(), "the thread is still warming"
    runner.let_all()
    await eventually(lambda: not engine_is_running())
    await few_turns()
    assert problems == []


async def test_stop_ends_the_thread_after_the_step_in_flight() -> None:
    runner = FakeRunner()
    async with running(fake_program(runner)) as engine:
        (session,) = await opened(engine, "a")
        runner.hold()
        await session.submit(0)
        await runner.step_entered()
        stopping = asyncio.create_task(engine.stop())
        await few_turns()
        assert engine_is_running()
        runner.let_all()
        await stopping
        assert not engine_is_running()
        assert await next_value(session) == ("a", 0, 0)


async def test_an_engine_that_never_started_can_be_stopped() -> None:
    await Engine([fake_program(FakeRunner())], inflight_frames=1).stop()
