"""The Worker service: tells gateways how many slots are free and what is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.worker.drain import Drain
from moshi_cluster.services.common.worker.slots import SlotTable
from moshi_cluster.v1 import worker_pb2, worker_pb2_grpc

_MIN_INTERVAL_S = 0.02


class CapacityServicer(worker_pb2_grpc.WorkerServicer):
    """Streams the state of the slot tables, latest state wins."""

    def __init__(
        self,
        service: str,
        tables: Callable[[], list[SlotTable]],
        drain: Drain,
        step_max_s: Callable[[], float] = lambda: 0.0,
        heartbeat_s: float = 1.0,
    ) -> None:
        """service: what the worker runs, "codec" or "lm". drain: of the worker; is told how many watch it.

        step_max_s: its longest step lately, 0 for none. heartbeat_s: a state that lasts is told again so often.
        """
        self._service = service
        self._tables = tables
        self._drain = drain
        self._step_max_s = step_max_s
        self._heartbeat_s = heartbeat_s
        self._model = worker_pb2.Capacity()
        self._watchers: set[asyncio.Event] = set()

    def loaded(self, checkpoint: str, codec_checkpoint: str, context_frames: int, codes: CodeShape) -> None:
        """Notes what was loaded: its fingerprint and its codec's, how many frames of a history it looks back on, its
        codes.
        """
        self._model = worker_pb2.Capacity(
            checkpoint=checkpoint, codec_checkpoint=codec_checkpoint, context_frames=context_frames, **codes._asdict()
        )

    def unloaded(self) -> None:
        """Nothing is loaded any more, for now."""
        self._model = worker_pb2.Capacity()

    def changed(self) -> None:
        """Tells every watcher, and the drain; call from the event loop after the state moved."""
        self._tell_drain()
        for watcher in self._watchers:
            watcher.set()

    async def WatchCapacity(self, request: worker_pb2.WatchCapacityRequest, context: grpc.aio.ServicerContext) -> None:
        changed = asyncio.Event()
        self._watchers.add(changed)
        self._tell_drain()
        try:
            while True:
                changed.clear()
                await context.write(self._capacity())
                if self._drain.closed.is_set() and not self._sessions():  # a watcher must not hold up the stop
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the worker is stopping")
                await asyncio.sleep(_MIN_INTERVAL_S)
                await set_within(changed, self._heartbeat_s)
        finally:
            self._watchers.discard(changed)
            self._tell_drain()

    def _tell_drain(self) -> None:
        self._drain.needed_by(self._sessions(), len(self._watchers))

    def _sessions(self) -> int:
        return sum(table.used for table in self._tables())

    def _capacity(self) -> worker_pb2.Capacity:
        fullest = min(self._tables(), key=lambda table: table.total - table.used, default=SlotTable("none", 0))
        state = worker_pb2.Capacity(
            service=self._service,
            slots_total=fullest.total,
            slots_used=fullest.used,
            step_max_us=round(1e6 * self._step_max_s()),
        )
        if self._drain.begun.is_set() or self._drain.closed.is_set():
            state.MergeFrom(self._leaving())
        state.MergeFrom(self._model)
        return state

    def _leaving(self) -> worker_pb2.Capacity:
        """A worker whose engine has failed leaves, too, and gives no time."""
        grace_s = self._drain.grace_left_s if self._drain.begun.is_set() else 0.0
        return worker_pb2.Capacity(
            draining=True, grace_ms=round(1000 * grace_s), linger_ms=round(1000 * self._drain.linger_left_s)
        )
