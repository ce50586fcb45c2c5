"""Base of the codec and lm workers: an engine, admission by free slots, capacity reports, drain and stop."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.daemon_thread import in_daemon_thread
from moshi_cluster.services.common.errors import NoFreeSlot, Unavailable
from moshi_cluster.services.common.mux.server import MuxServicer
from moshi_cluster.services.common.readiness import Readiness
from moshi_cluster.services.common.session_stream import Methods
from moshi_cluster.services.common.worker.capacity import CapacityServicer
from moshi_cluster.services.common.worker.device_stats import DeviceStats, no_device
from moshi_cluster.services.common.worker.drain import Drain
from moshi_cluster.services.common.worker.engine import Engine
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.program import PrepareStats, Program, StepStats
from moshi_cluster.services.common.worker.recent_maximum import RecentMaximum
from moshi_cluster.services.common.worker.session import Session
from moshi_cluster.services.common.worker.session_engine import SessionEngine
from moshi_cluster.services.common.worker.slots import SlotTable
from moshi_cluster.v1 import trunk_pb2_grpc, worker_pb2_grpc

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model(ABC):
    """What a worker gets from loading."""

    programs: list[Program]  # none where another process runs them
    fingerprint: str  # of the checkpoint
    codec_fingerprint: str = field(default="", kw_only=True)
    """Of the codec that belongs to an lm's checkpoint, empty where none is known."""
    context_frames: int = field(default=0, kw_only=True)
    """Frames of a session's history that the model looks back on; 0 for one that reads no history."""
    device: Callable[[], DeviceStats | None] = field(default=no_device, kw_only=True)
    """Tells of the card that it is on."""

    @property
    @abstractmethod
    def codes(self) -> CodeShape:
        """Codes of a frame, which the other service's workers must share."""


M = TypeVar("M", bound=Model)


class WorkerService(Generic[M]):
    """Base of the two workers; implements services.common.lifecycle.Service but for the rpcs themselves."""

    def __init__(
        self,
        name: str,
        load: Callable[[], M] | None,
        metrics: EngineMetrics,
        inflight_frames: int,
        drain_linger_s: float,
    ) -> None:
        """load: builds the model; runs in a thread and may take its time. None: the subclass has a `start` of its own,
        which brings model and engine. drain_linger_s: see Drain.
        """
        self.model: M  # set by `open_with`
        self.readiness = Readiness()
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._load = load
        self._metrics = metrics
        self._inflight_frames = inflight_frames
        self._engine: SessionEngine | None = None
        self._why_closed = "the worker is still loading"  # while there is no engine
        self._drain = Drain(drain_linger_s, self._tell_state, self._end_sessions)
        self._step_max = RecentMaximum(asyncio.get_running_loop().time)
        self._capacity = CapacityServicer(name, self._tables, self._drain, self._step_max.value)

    def register_worker(self, server: grpc.aio.Server, methods: Methods) -> list[str]:
        """Adds the Worker service and the stream multiplexer, which carries `methods`; returns their names."""
        worker_pb2_grpc.add_WorkerServicer_to_server(self._capacity, server)
        trunk_pb2_grpc.add_TrunkServicer_to_server(MuxServicer(methods, self._drain.closed), server)
        return ["moshi_cluster.v1.Worker", "moshi_cluster.v1.Trunk"]

    async def start(self) -> None:
        """Loads the model, warms every batch size, opens for sessions."""
        assert self._load is not None
        model = await in_daemon_thread(self._load)
        engine = Engine(model.programs, inflight_frames=self._inflight_frames, on_stats=self.observe)
        await engine.start()
        engine.failed.add_done_callback(self._engine_failed)
        self.open_with(model, engine)

    def open_with(self, model: M, engine: SessionEngine) -> None:
        """From now on sessions are held by this engine."""
        self.model = model
        engine.on_slots_changed = self._slots_changed
        self._engine = engine
        self._metrics.loaded(model.fingerprint, model.device)
        self._capacity.loaded(model.fingerprint, model.codec_fingerprint, model.context_frames, model.codes)
        self._slots_changed()
        self.readiness.set(True)

    def close_for_now(self, why: str) -> None:
        """The engine is of no use any more; new sessions are refused as Unavailable until there is another one.

        why: a stable text for those who are refused. Its own sessions are the engine's to end.
        """
        self._engine, self._why_closed = None, why
        self._metrics.unloaded()
        self._capacity.unloaded()
        self._slots_changed()
        self.readiness.set(False)

    @property
    def live_sessions(self) -> int:
        """Slots held now, all programs together."""
        return sum(table.used for table in self._tables())

    def drain(self, grace_s: float) -> None:
        """Live sessions see `draining`, have `grace_s` left and are then ended with a status. New ones are refused once
        the linger is over.
        """
        self._drain.begin(grace_s)
        self._tell_state()

    @property
    def draining(self) -> asyncio.Event:
        """Set once the worker has been told to stop."""
        return self._drain.begun

    @property
    def grace_left_s(self) -> float:
        """How long sessions still have, once the worker drains."""
        return self._drain.grace_left_s

    async def until_idle(self) -> None:
        """Returns once every slot is free, and no gateway needs the worker any more or its linger is over."""
        await self._drain.until_over()

    async def stop(self) -> None:
        """Ends the engine."""
        self._drain.cancel()
        if self._engine is not None:
            await self._engine.stop()

    @asynccontextmanager
    async def session(self, program: str, spec: Any = None) -> AsyncIterator[Session]:
        """A slot for as long as the context lasts. Raises NoFreeSlot, or Unavailable while loading or draining."""
        engine = self.require_open(program)
        session = self._admit(engine, program, spec)
        _log.info("session up program=%s slot=%d", program, session.slot)
        outcome = "ok"
        try:
            yield session
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            engine.close(session)
            _log.info("session over program=%s slot=%d outcome=%s", program, session.slot, outcome)

    def require_open(self, program: str) -> SessionEngine:
        """The engine; where there is one, there is a `model`. Raises Unavailable while there is none or draining."""
        if self._engine is not None and not self._drain.closed.is_set():
            return self._engine
        self._metrics.rejected(program)
        raise Unavailable(self._why_closed if self._engine is None else "the worker is draining")

    def observe(self, stats: StepStats | PrepareStats) -> None:
        """Takes an engine's account of its work."""
        self._metrics.observe(stats)
        self._step_max.add(stats.step_s if isinstance(stats, StepStats) else stats.prepare_s)

    def _admit(self, engine: SessionEngine, program: str, spec: Any) -> Session:
        try:
            return engine.open(program, spec)
        except NoFreeSlot:
            self._metrics.rejected(program)
            raise

    def _tables(self) -> list[SlotTable]:
        return self._engine.tables if self._engine is not None else []

    def _slots_changed(self) -> None:
        self._metrics.observe_slots(self._tables())
        self._tell_state()

    def _tell_state(self) -> None:
        self._capacity.changed()

    def _end_sessions(self) -> None:
        if self._engine is not None:
            self._engine.fail_sessions(Unavailable("the worker stops, and the time to finish is over"))

    def _engine_failed(self, failure: asyncio.Future[BaseException]) -> None:
        self._drain.close()  # gateways place no more sessions here
        if not self.failed.done():
            self.failed.set_result(failure.result())
