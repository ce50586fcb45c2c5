"""Whatever the order of arrivals and departures: who stays is answered completely, and no slot is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import NoFreeSlot
from moshi_cluster.services.common.worker.engine import Engine
from moshi_cluster.services.common.worker.program import Program
from moshi_cluster.services.common.worker.session import Session
from tests.services.fake_runner import FakeOverlappedRunner, FakeRunner, fake_program
from tests.services.in_process import eventually

_SLOTS = 3

operations = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.just(0)),
        st.tuples(st.just("submit"), st.integers(0, 7)),
        st.tuples(st.just("close"), st.integers(0, 7)),
        st.tuples(st.just("let the loop run"), st.integers(1, 4)),
    ),
    max_size=60,
)


@dataclass
class Caller:
    """A session, what it sent, and what came back."""

    name: int
    session: Session
    sent: int = 0
    replies: list[Any] = field(default_factory=list)
    reading: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        self.replies.extend([reply.value async for reply in self.session.replies()])

    async def send(self) -> None:
        await self.session.submit(self.sent)
        self.sent += 1

    async def leave(self, engine: Engine) -> None:
        engine.close(self.session)
        self.reading.cancel()
        await asyncio.wait([self.reading])


async def play(plan: list[tuple[str, int]], program: Program, inflight_frames: int) -> None:
    engine = Engine([program], inflight_frames=inflight_frames)
    await engine.start()
    callers: list[Caller] = []
    for step, (verb, number) in enumerate(plan):
        if verb == "open":
            try:
                callers.append(Caller(step, engine.open("fake", step)))
            except NoFreeSlot:
                assert program.table.used == _SLOTS
        elif verb == "let the loop run":
            for _ in range(number):
                await asyncio.sleep(0)
        elif callers and verb == "submit":
            await callers[number % len(callers)].send()
        elif callers:
            await callers.pop(number % len(callers)).leave(engine)
    for caller in callers:
        caller.session.finish()
        await caller.reading
        assert caller.replies == [(caller.name, frame, frame) for frame in range(caller.sent)]
        engine.close(caller.session)
    await eventually(lambda: program.table.used == 0)
    assert program.sessions == []
    await engine.stop()


@settings(max_examples=150)
@given(
    operations,
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([FakeRunner, FakeOverlappedRunner]),
)
def test_who_stays_is_answered_once_and_in_order_and_every_slot_comes_back(
    plan: list[tuple[str, int]], max_batch: int, prepare_pieces: int, inflight_frames: int, kind: type[FakeRunner]
) -> None:
    runner = kind(prepare_pieces=prepare_pieces)
    program = fake_program(runner, slots=_SLOTS, max_batch=max_batch)
    asyncio.run(play(plan, program, inflight_frames))
    assert runner.specs == {}, "a slot was left uncleaned"
    assert all(len(batch) <= max_batch for batch in runner.steps)
