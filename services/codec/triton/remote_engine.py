"""An engine whose models run in Triton: the slots and sessions of this worker, a sequence in Triton for each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.services.codec.triton.connection import TritonConnection
from moshi_cluster.services.codec.triton.frames import Frames, StepAccount
from moshi_cluster.services.codec.triton.sequence import Forgotten, Sequence
from moshi_cluster.services.common.errors import SessionError, Unavailable
from moshi_cluster.services.common.worker.program import StepStats
from moshi_cluster.services.common.worker.session import Session, Waiting
from moshi_cluster.services.common.worker.slots import SlotTable

_log = logging.getLogger(__name__)
_LOOKS_PER_TIMEOUT = 4
_MOST_FAILURES = 3


@dataclass
class RemoteProgram:
    """One kind of step, run by a model in Triton."""

    name: str
    frames: Frames
    slots: int
    table: SlotTable = field(init=False)

    def __post_init__(self) -> None:
        self.table = SlotTable(self.name, self.slots)


@dataclass(frozen=True)
class _Carried:
    """A session on its way to Triton and back."""

    program: RemoteProgram
    sequence: Sequence
    task: asyncio.Task[None]


class RemoteEngine:
    """Implements SessionEngine, for as long as Triton is within reach and runs the same model."""

    def __init__(
        self,
        programs: list[RemoteProgram],
        connection: TritonConnection,
        *,
        inflight_frames: int,
        answer_timeout_s: float,
        on_stats: Callable[[StepStats], None],
        on_trouble: Callable[[], None],
    ) -> None:
        """answer_timeout_s: a frame that is not answered for so long ends its session.

        on_trouble: called when a session has failed: Triton may be gone.
        """
        self.on_slots_changed: Callable[[], None] = lambda: None
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Resolves with a mistake of ours."""
        self._programs = {program.name: program for program in programs}
        self._connection = connection
        self._inflight_frames = inflight_frames
        self._timeout_s = answer_timeout_s
        self._on_trouble = on_trouble
        self._steps = {program.name: _Steps(program.name, on_stats) for program in programs}
        self._carried: dict[Session, _Carried] = {}
        self._watch = asyncio.create_task(self._watch_answers())

    @property
    def is_broken(self) -> bool:
        """Whether a program has failed several sessions in a row and answered no frame in between."""
        return max(steps.failures for steps in self._steps.values()) >= _MOST_FAILURES

    @property
    def tables(self) -> list[SlotTable]:
        """The programs' slot tables."""
        return [program.table for program in self._programs.values()]

    def open(self, program_name: str, spec: Any = None) -> Session:
        """Takes a slot and opens a stream to Triton. Raises NoFreeSlot."""
        program = self._programs[program_name]
        session = Session(program.table.acquire(), spec, self._inflight_frames, self._enqueue)
        session.ready.set_result(None)
        sequence = Sequence(session, program_name, program.frames, self._connection, self._steps[program_name].add)
        task = asyncio.create_task(self._carry(session, sequence, self._steps[program_name]))
        self._carried[session] = _Carried(program, sequence, task)
        task.add_done_callback(lambda task: self._carried_to_the_end(session, task))
        self.on_slots_changed()
        return session

    def close(self, session: Session) -> None:
        """Ends a session, whatever it was doing. Its slot is free once Triton has ended the sequence, or is lost."""
        if (carried := self._carried.get(session)) is None:
            return
        if carried.sequence.is_idle:
            carried.task.cancel()
        else:
            carried.sequence.close()

    def fail_sessions(self, error: SessionError) -> None:
        """Ends every session with an error, after the replies that it already has."""
        for session in self._carried:
            session.fail(error)

    async def stop(self) -> None:
        """Lets go of every sequence; Triton forgets them in its own time."""
        tasks = [self._watch, *(carried.task for carried in self._carried.values())]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _enqueue(self, session: Session, waiting: Waiting) -> None:
        if (carried := self._carried.get(session)) is not None:
            carried.sequence.put(waiting)

    async def _carry(self, session: Session, sequence: Sequence, steps: _Steps) -> None:
        try:
            await sequence.run()
        except Unavailable as error:
            steps.failures += not isinstance(error, Forgotten)
            session.fail(error)
            self._on_trouble()

    def _carried_to_the_end(self, session: Session, task: asyncio.Task[None]) -> None:
        carried = self._carried.pop(session)
        carried.program.table.release(session.slot)
        self.on_slots_changed()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a session could not be carried", exc_info=error)
            if not self.failed.done():
                self.failed.set_result(error)

    async def _watch_answers(self) -> None:
        """Ends sessions whose frames are not answered: no exception tells of a model that hangs."""
        while True:
            await asyncio.sleep(self._timeout_s / _LOOKS_PER_TIMEOUT)
            latest_s = time.monotonic() - self._timeout_s
            late = [session for session, each in self._carried.items() if each.sequence.oldest_arrival_s < latest_s]
            for session in late:
                session.fail(Unavailable("Triton did not answer in time"))
                self._steps[self._carried[session].program.name].failures += 1
                self._carried[session].task.cancel()
                self._on_trouble()


class _Steps:
    """Makes one account of a step from the answers that come of it, each by itself."""

    def __init__(self, program: str, on_stats: Callable[[StepStats], None]) -> None:
        self._program = program
        self._on_stats = on_stats
        self._step: StepAccount | None = None
        self._waited_s: list[float] = []
        self._misses = 0
        self.failures = 0
        """Sessions that have failed since the last answer."""

    def add(self, step: StepAccount, waited_s: float, took_s: float) -> None:
        """Takes a frame's answer. Other workers may have the rest of the step's frames."""
        self.failures = 0
        if step != self._step:
            self._tell()
            self._step = step
        self._waited_s.append(waited_s)
        self._misses += took_s > FRAME_S
        if len(self._waited_s) == step.batch_size:
            self._tell()

    def _tell(self) -> None:
        if self._step is not None and self._waited_s:
            self._on_stats(StepStats(self._program, self._step.step_s, self._waited_s, self._misses))
        self._step, self._waited_s, self._misses = None, [], 0
