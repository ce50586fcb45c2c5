"""The engine: one thread that owns the device and turns waiting frames into batches.

    collect -> step -> deliver

A program is one kind of step over one table of slots (the codec runs two, encode and decode; the lm one). While a
step runs, frames arrive, and the next batch is whatever waits then: under load the batches grow and the cost of a
session falls. Only a program with a gather time waits for more, see `Program`.

Where a device works while the host goes on, the loop is the same with its parts in another order: the step before ends,
the next one is collected and launched, and then the results of the one before are delivered.

The asyncio side holds a `Session` per slot: it submits frames and reads replies. At most `inflight_frames` of a session
are between submit and the moment its reply has been taken; past that `submit` waits, so a peer that sends too fast or
does not read is held back by its own stream and every queue here is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.services.common.errors import EngineFailed, SessionError
from moshi_cluster.services.common.worker.program import (
    Batch,
    InFlight,
    OverlappedRunner,
    PrepareStats,
    Program,
    StepStats,
)
from moshi_cluster.services.common.worker.session import Reply, Session, Waiting
from moshi_cluster.services.common.worker.slots import SlotTable
from moshi_cluster.services.common.worker.turn_watch import TurnWatch

_log = logging.getLogger(__name__)


class Engine:
    """The thread, its programs, and the way in and out of it."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        inflight_frames: int,
        on_stats: Callable[[StepStats | PrepareStats], None] = lambda stats: None,
        look_s: float = 1.0,
        stuck_looks: int = 60,
        join_s: float = 5.0,
    ) -> None:
        """on_stats: told of every step and piece of opening work.

        A turn that is still the same after `stuck_looks` looks, `look_s` apart, has hung: turns take milliseconds, only
        a driver or a device that hangs needs so long. `stop` leaves a thread behind that does not end within `join_s`.
        """
        self.loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[BaseException] = self.loop.create_future()
        self.on_slots_changed: Callable[[], None] = lambda: None
        self._programs = {program.name: program for program in programs}
        self._inflight_frames = inflight_frames
        self._on_stats = on_stats
        self._look_s, self._stuck_looks, self._join_s = look_s, stuck_looks, join_s
        self._work = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._warm: asyncio.Future[None] = self.loop.create_future()
        self._turns = 0  # of programs, begun and ended: odd while one lasts
        self._watch: asyncio.Task[None] | None = None

    # --- the asyncio side

    @property
    def tables(self) -> list[SlotTable]:
        """The programs' slot tables."""
        return [program.table for program in self._programs.values()]

    async def start(self) -> None:
        """Starts the thread and returns once every program is warm. Cancelled, it returns at once: the thread ends
        when its warming does."""
        self._thread.start()
        try:
            await self._warm
        except asyncio.CancelledError:
            self._tell_thread_to_stop()
            raise
        self._watch = asyncio.create_task(self._watch_turns())

    def open(self, program_name: str, spec: Any = None) -> Session:
        """Takes a slot; `session.ready` resolves once the model is prepared. Raises NoFreeSlot or EngineFailed."""
        if self.failed.done():
            raise EngineFailed("the engine has failed")
        program = self._programs[program_name]
        session = Session(program.table.acquire(), spec, self._inflight_frames, self.enqueue)
        with self._work:
            program.sessions.append(session)
            self._work.notify()
        self.on_slots_changed()
        return session

    def close(self, session: Session) -> None:
        """Ends a session, whatever it was doing. Its slot is free again once the engine has cleaned it."""
        with self._work:
            session.ended = True
            session.waiting.clear()
            self._work.notify()

    def fail_sessions(self, error: SessionError) -> None:
        """Ends every session with an error, after the replies that it already has."""
        with self._work:
            sessions = [s for program in self._programs.values() for s in program.sessions if not s.ended]
        for session in sessions:
            session.fail(error)

    def enqueue(self, session: Session, waiting: Waiting) -> None:
        """Adds a frame to a session's queue; a session that has ended takes none."""
        with self._work:
            if not session.ended:
                session.waiting.append(waiting)
                session.next_arrival_s = waiting.arrival_s + FRAME_S
                self._work.notify()

    async def stop(self) -> None:
        """Ends the thread after the step in flight. One that hangs is left behind after a few seconds."""
        if self._watch is not None:
            self._watch.cancel()
        self._tell_thread_to_stop()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, self._join_s)
        if self._thread.is_alive():
            _log.error("the engine's thread does not end, going on without it")

    def _tell_thread_to_stop(self) -> None:
        with self._work:
            self._stopping = True
            self._work.notify()

    # --- the engine thread

    def _run(self) -> None:
        try:
            for program in self._programs.values():
                program.runner.warm(program.max_batch)
            self._post(_resolve, self._warm)
            while self._wait_for_work():
                for program in self._longest_waiting_first():
                    self._turn(program)
        except Exception as error:
            _log.exception("engine failed")
            self._post(self._broadcast_failure, error)

    def _wait_for_work(self) -> bool:
        with self._work:
            while not self._stopping:
                wait_s = min(map(_work_due_s, self._programs.values())) - time.monotonic()
                if wait_s <= 0:
                    return True
                self._work.wait(min(wait_s, threading.TIMEOUT_MAX))
            return False

    def _longest_waiting_first(self) -> list[Program]:
        with self._work:
            return sorted(self._programs.values(), key=Program.oldest_arrival_s)

    def _turn(self, program: Program) -> None:
        self._turns += 1
        if program.overlapped is not None:
            self._overlapped_step(program, program.overlapped)
        else:
            self._clean_ended(program)
            if batch := self._collect(program):
                self._deliver(program, batch, *self._step(program, batch))
        self._prepare_one(program)
        self._turns += 1

    def _overlapped_step(self, program: Program, runner: OverlappedRunner) -> None:
        before, program.in_flight = program.in_flight, None
        values = runner.finish() if before else ()
        end_s = time.monotonic()
        self._clean_ended(program)  # nothing is in flight
        if batch := self._collect(program):
            program.in_flight = InFlight(batch, time.monotonic())
            runner.launch([session.slot for session, _ in batch], [waiting.frame for _, waiting in batch])
        if before:
            self._deliver(program, before.batch, values, before.start_s, end_s)

    def _clean_ended(self, program: Program) -> None:
        with self._work:
            ended = [session for session in program.sessions if session.ended]
            program.sessions = [session for session in program.sessions if not session.ended]
        for session in ended:
            if session.opened:
                program.runner.close(session.slot)
            self._post(self._free_slot, program, session)

    def _collect(self, program: Program) -> Batch:
        """The next frame of every session that has one; if they are too many, of those that have waited longest.

        In the order of their slots, so that a model finds neighbouring rows of its state side by side.
        """
        with self._work:
            if program.step_due_s() > time.monotonic():
                return []
            ready = sorted((s for s in program.sessions if s.steppable), key=lambda s: s.waiting[0].arrival_s)
            chosen = sorted(ready[: program.max_batch], key=lambda s: s.slot)
            return [(session, session.waiting.popleft()) for session in chosen]

    def _step(self, program: Program, batch: Batch) -> tuple[Sequence[Any], float, float]:
        start_s = time.monotonic()
        values = program.runner.step([session.slot for session, _ in batch], [waiting.frame for _, waiting in batch])
        return values, start_s, time.monotonic()

    def _deliver(
        self,
        program: Program,
        batch: Batch,
        values: Sequence[Any],
        start_s: float,
        end_s: float,
    ) -> None:
        queue_s = [start_s - waiting.arrival_s for _, waiting in batch]
        replies = [
            (session, Reply(value, waited_s, end_s - start_s, len(batch)))
            for (session, _), value, waited_s in zip(batch, values, queue_s, strict=True)
        ]
        misses = sum(end_s - waiting.arrival_s > FRAME_S for _, waiting in batch)
        self._post(self._hand_over, replies, StepStats(program.name, end_s - start_s, queue_s, misses))

    def _prepare_one(self, program: Program) -> None:
        """One piece of opening work for one session: running sessions keep their time.

        The shortest history goes first, so that a new call never waits for those that are resumed.
        """
        with self._work:
            unprepared = [session for session in program.sessions if not session.prepared and not session.ended]
        if not unprepared:
            return
        session = min(unprepared, key=lambda s: program.runner.history_frames(s.spec))
        start_s = time.monotonic()
        if not session.opened:
            program.runner.open(session.slot, session.spec)
            session.opened = True
        session.prepared = program.runner.prepare(session.slot)
        self._post(self._on_stats, PrepareStats(program.name, time.monotonic() - start_s))
        if session.prepared:
            self._post(_resolve, session.ready)

    def _post(self, callback: Callable[..., object], *arguments: Any) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(callback, *arguments)

    # --- back on the event loop

    def _hand_over(self, replies: list[tuple[Session, Reply]], stats: StepStats) -> None:
        for session, reply in replies:
            session.deliver(reply)
        self._on_stats(stats)

    async def _watch_turns(self) -> None:
        """Fails the engine when a turn does not end."""
        watch, hung = TurnWatch(self._stuck_looks), False
        while not hung:
            await asyncio.sleep(self._look_s)
            hung = watch.look(self._turns)
        _log.error("a step has not ended after %g s", self._stuck_looks * self._look_s)
        self._broadcast_failure(TimeoutError("a step did not end"))

    def _free_slot(self, program: Program, session: Session) -> None:
        program.table.release(session.slot)
        self.on_slots_changed()

    def _broadcast_failure(self, error: BaseException) -> None:
        failure = EngineFailed(f"the engine failed: {type(error).__name__}")
        if not self._warm.done():
            self._warm.set_exception(error)
        if not self.failed.done():
            self.failed.set_result(error)
        self.fail_sessions(failure)


def _work_due_s(program: Program) -> float:
    """When the program next has something to do; minus infinity for at once. Call under the engine's lock."""
    if program.in_flight or any(session.ended or not session.prepared for session in program.sessions):
        return -math.inf
    return program.step_due_s()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
