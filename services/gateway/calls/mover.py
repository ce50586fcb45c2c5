"""Mover of a call's streams to one service: when their worker is lost, hangs or drains, another one goes on with them.

    lost      the worker can no longer be read: at once, and for `give_up_s` until one has room
    hung      it leaves a frame unanswered and says nothing to anybody: beside it, until it is heard again or given up
    draining  it is about to stop: beside it, for as long as it is there

The caller hears at most one gap: what was in flight is answered again, to the same tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from moshi_cluster.services.common.errors import SessionError, Unavailable
from moshi_cluster.services.gateway.calls.movable_stream import MovableStream
from moshi_cluster.services.gateway.calls.unanswered import UnansweredFrames
from moshi_cluster.services.gateway.workers.move_turns import MoveTurns
from moshi_cluster.services.gateway.workers.streams import WorkerStream
from moshi_cluster.services.gateway.workers.worker import Worker

HUNG_GIVEN_UP_S = 10.0
"""A worker that has left a frame unanswered for so long is lost, whether another one has room or not."""

_STUCK_S = 5.0  # for one call alone, at a worker that answers others
_RETRY_S = 0.25
_HURRY_S = 10.0  # before a draining worker ends: what the last ones need to move all at once
_IN_VAIN_MAX = 2  # workers in a row that answer nothing after the call has moved to them: they may fail of it


class MoveReason(IntEnum):
    """Why streams move, the most urgent last."""

    DRAINING = 1
    HUNG = 2
    LOST = 3


_CATCH_UP_FRAMES = {
    MoveReason.DRAINING: 2,  # somebody answers meanwhile, and those beside it are to notice nothing
    MoveReason.HUNG: 8,  # a worker takes no more, and needs no more to be kept busy
    MoveReason.LOST: 8,
}
"""Sent and not answered while a stream catches up."""


@dataclass(frozen=True)
class MovePlan:
    """What another worker is given, and how long is waited before and while streams move."""

    answer_timeout_s: float
    """A worker that leaves a frame unanswered so long beyond its own longest step, and is not heard at all, hangs."""
    give_up_s: float
    """Until another worker has room, once theirs is lost."""
    open_timeout_s: float
    """Until another worker has opened them and caught up; longer beside one that drains and still answers."""
    encode_frames: int
    """Last frames of the caller's voice that another codec's encoder hears first."""
    decode_frames: int
    """Last frames of Moshi's codes that another codec's decoder gets first."""

    def hangs_after_s(self, longest_step_s: float) -> float:
        """For how long a worker may be silent. A longer step than the timeout is no excuse: it may have been halted in
        it, and would have as much time again when that happens once more.
        """
        return self.answer_timeout_s + min(longest_step_s, self.answer_timeout_s)


class MoveListener(Protocol):
    """Who is told what becomes of the streams."""

    def moved(self, reason: MoveReason, old: Worker, new: Worker, same: bool) -> None:
        """Another worker carries them. same: it answers what the old one did."""

    def not_moved(self, reason: MoveReason, worker: Worker) -> None:
        """No other worker could take them, for the first time; it is tried again."""

    def given_up(self, reason: MoveReason, worker: Worker) -> None:
        """They are lost, and the call is over."""

    def gap(self, service: str, gap_s: float) -> None:
        """What their answers were late by, when they moved."""


Open = Callable[[MoveReason], Awaitable[Sequence[WorkerStream[Any]]]]
"""Opens one stream for each of the mover's on another worker, and calls `remember` where their state begins."""


class Mover:
    """Watches the streams of one service and moves them, all together."""

    def __init__(
        self,
        service: str,
        streams: Sequence[MovableStream[Any]],
        open_elsewhere: Open,
        replace: Callable[[WorkerStream[Any]], None],
        turns: MoveTurns,
        plan: MovePlan,
        listener: MoveListener,
    ) -> None:
        """replace: told of every stream that takes another's place. turns: of the calls that move at once."""
        self._service = service
        self._streams = streams
        self._open_elsewhere = open_elsewhere
        self._replace = replace
        self._turns = turns
        self._plan = plan
        self._listener = listener
        self._now_s = asyncio.get_running_loop().time
        self._began_s = self._now_s()
        self._reason: MoveReason | None = None
        self._since_s = 0.0  # when it came up
        self._wanted = asyncio.Event()
        self._patience: asyncio.Timeout | None = None  # of a call that waits for its turn
        self._error: Unavailable | None = None
        self._moves_in_vain = 0
        self._answered_at_move = 0
        self._unanswered = UnansweredFrames([stream.waiting for stream in streams])
        for stream in streams:
            stream.on_lost = self._lose
        streams[-1].on_gap = lambda gap_s: listener.gap(service, gap_s)

    @property
    def worker(self) -> Worker:
        """Who carries the streams."""
        worker: Worker = self._streams[0].stream.worker
        return worker

    def look(self, interval_s: float) -> None:
        """Looks at the worker; call it every `interval_s`."""
        frames = self._unanswered
        frames.look(self.worker.mux.bundles_heard, interval_s)
        limit_s = self._plan.hangs_after_s(self.worker.worst_step_s)
        if frames.silent_s > limit_s or frames.unanswered_s > _STUCK_S:
            self.worker.failed()
            self._want(MoveReason.HUNG)
        elif self.worker.draining.is_set():
            self._want(MoveReason.DRAINING)

    async def run(self) -> None:
        """Moves the streams whenever they have to, until cancelled. Raises Unavailable when nobody takes them."""
        while True:
            await self._wanted.wait()
            await self._move()

    @property
    def _answered_frames(self) -> int:
        return sum(stream.answered_frames for stream in self._streams)

    def _want(self, reason: MoveReason) -> None:
        if self._reason is None or reason > self._reason:
            self._reason = reason
            self._since_s = self._now_s()
            self._wanted.set()
            if self._patience is not None:
                with contextlib.suppress(RuntimeError):  # it has its turn, or is back from it
                    self._patience.reschedule(self._since_s)

    def _lose(self, error: Unavailable) -> None:
        if self._reason is not MoveReason.LOST:
            self._error = error  # what comes after it tells less
        self._want(MoveReason.LOST)

    async def _move(self) -> None:
        told = False
        old = self.worker
        while (reason := self._reason) is not None:
            self._check_hope(for_s=0.0)
            try:
                patience_s = self._patience_s(reason)
                self._patience = asyncio.timeout(patience_s) if patience_s > 0 else None
                async with self._turns.turn(self._began_s, self._patience):
                    reason = self._reason or reason  # it may have become more urgent meanwhile
                    same = await self._move_once(reason)
            except (SessionError, TimeoutError):
                self._check_hope(self._now_s() - self._since_s)
                if not told:
                    self._listener.not_moved(reason, old)
                    told = True
                await asyncio.sleep(_RETRY_S)
                if self._reason is MoveReason.HUNG and not self._unanswered.unanswered_s:
                    self._settle()
            else:
                self._moved()
                self._listener.moved(reason, old, self.worker, same)
                old = self.worker

    def _patience_s(self, reason: MoveReason) -> float:
        return self.worker.grace_left_s - _HURRY_S if reason is MoveReason.DRAINING else 0.0

    async def _move_once(self, reason: MoveReason) -> bool:
        async with asyncio.timeout(max(self._plan.open_timeout_s, self._patience_s(reason))):
            opened = await self._open_elsewhere(reason)
            same = True
            try:
                for old, new in zip(self._streams, opened, strict=True):
                    rests = reason is MoveReason.DRAINING
                    same &= await old.catch_up(new, _CATCH_UP_FRAMES[reason], rests)
                    old.switch(new)
                    self._replace(new)
            except BaseException:
                for new in opened:
                    new.cancel()
                raise
        return same

    def _moved(self) -> None:
        answered = self._answered_frames
        self._moves_in_vain = self._moves_in_vain + 1 if answered == self._answered_at_move else 1
        self._answered_at_move = answered
        self._unanswered.restart()
        self._settle()

    def _settle(self) -> None:
        """Nothing is to be done any more, unless what was done is lost again."""
        if not any(stream.is_lost for stream in self._streams):
            self._reason = None
            self._wanted.clear()

    def _check_hope(self, for_s: float) -> None:
        """Raises Unavailable once there is none. for_s: how long another worker was looked for."""
        error = self._error
        in_vain = self._moves_in_vain >= _IN_VAIN_MAX and self._answered_frames == self._answered_at_move
        if self._reason is MoveReason.LOST and (for_s > self._plan.give_up_s or in_vain):
            pass
        elif self._reason is MoveReason.HUNG and for_s > HUNG_GIVEN_UP_S:
            error = self._streams[self._unanswered.hop].stream.unavailable("does not answer")
        else:
            return
        self._listener.given_up(self._reason, self.worker)
        assert error is not None
        raise error
