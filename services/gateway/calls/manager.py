"""Every call of a gateway, whatever it came in over: who may call, the workers behind, drain, how each call ended."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from moshi_cluster.services.common.errors import SessionError, Unavailable
from moshi_cluster.services.common.worker.streams import session_error, within
from moshi_cluster.services.gateway.admission.auth import Tokens
from moshi_cluster.services.gateway.admission.capacity import Admission
from moshi_cluster.services.gateway.admission.queue import AdmissionQueue, Tell
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.outgoing import Checkpoints, Ended, Outgoing, Started
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.streams import CallStreams
from moshi_cluster.v1 import common_pb2

_CUT_BEFORE_END_S = 2.0
_HISTORY_FRAMES = 3000  # what the published models look back on; more would cost the other calls time for nothing

_log = logging.getLogger(__name__)

Read = Callable[[Call], Coroutine[Any, Any, None]]  # feeds a call until its caller hangs up
Send = Callable[[Outgoing], Awaitable[None]]


@dataclass(frozen=True)
class Reservation:
    """What a call needs, held: a place at this gateway and its workers' slots."""

    spec: CallSpec
    streams: CallStreams | None  # None for a loopback call
    history: History  # of what was said before
    asked_s: float  # when the caller asked for it


class CallManager:
    """What the transports share. One call is `session`, in it `reserve`, in it `converse`."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        """Raises SettingError when the tokens cannot be read."""
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._metrics = metrics
        self._codec = WorkerPool("codec", settings.codec_targets, settings.resolve_interval_s, settings.retry_after_ms)
        self._lm = WorkerPool("lm", settings.lm_targets, settings.resolve_interval_s, settings.retry_after_ms)
        for pool in (self._codec, self._lm):
            metrics.workers.labels(pool.service).set_function(pool.within_reach)
        self._pools: list[asyncio.Task[None]] = []
        self._calls: set[Call] = set()
        self._tokens = Tokens.of_file(settings.token_file)
        self._admission = Admission(settings, metrics)
        self._queue = AdmissionQueue(settings.queue_clients, self._has_room, metrics, settings.retry_after_ms)
        self._admission.on_change = self._codec.on_report = self._lm.on_report = self._queue.look_again

    # --- the life of the process

    async def start(self) -> None:
        """Returns once a worker of each service takes sessions."""
        self._pools = [asyncio.create_task(pool.run()) for pool in (self._codec, self._lm)]
        for pool in self._pools:
            pool.add_done_callback(self._pool_over)
        await self._codec.until_found()
        await self._lm.until_found()

    @property
    def live_sessions(self) -> int:
        """Calls that are not over yet."""
        return self._admission.sessions

    @property
    def takes_calls(self) -> bool:
        """Whether the workers are within reach and the gateway is not about to stop; it may be full."""
        return not self._admission.is_draining and self._codec.is_reachable and self._lm.is_reachable

    def drain(self, grace_s: float) -> None:
        """Refuses new calls and tells the live ones."""
        self._admission.drain()
        for call in self._calls:
            call.go_away(grace_s)
        # Cut what is left while there is still time to say so.
        asyncio.get_running_loop().call_later(max(0.0, grace_s - _CUT_BEFORE_END_S), self._cut_calls)

    def _cut_calls(self) -> None:
        for call in self._calls:
            call.cut()

    async def until_idle(self) -> None:
        """Returns once no call is left."""
        await self._admission.until_idle()

    def _pool_over(self, pool: asyncio.Task[None]) -> None:
        """A pool runs until it is cancelled; without it no worker would ever be found again."""
        if not pool.cancelled() and not self.failed.done():
            self.failed.set_result(pool.exception() or RuntimeError("a worker pool ended"))

    async def stop(self) -> None:
        """Lets go of the workers."""
        for pool in self._pools:
            pool.cancel()
        await asyncio.gather(*self._pools, return_exceptions=True)

    # --- a call

    @asynccontextmanager
    async def session(self) -> AsyncIterator[str]:
        """A new session's id; counts and logs how the session ends."""
        session_id = uuid.uuid4().hex
        outcome = "INTERNAL"
        try:
            yield session_id
            outcome = "ok"
        except asyncio.CancelledError:
            outcome = "CANCELLED"
            raise
        except Exception as error:
            if (known := session_error(error)) is not None:
                outcome = known.status
            raise
        finally:
            self._metrics.ended(outcome)
            _log.info("call over session=%s outcome=%s", session_id, outcome)

    def authenticate(self, token: str | None) -> None:
        """Raises Unauthenticated unless the token is accepted, or nobody is asked for one."""
        self._tokens.require(token)

    @asynccontextmanager
    async def reserve(self, peer: str, spec: CallSpec) -> AsyncIterator[Reservation]:
        """Held for as long as the context lasts. Raises Unavailable, NoFreeSlot or OverQuota, all at once.

        peer: the caller's address, as gRPC spells it.
        """
        with self._admission.client(peer):
            async with self._reserve(spec) as reservation:
                yield reservation

    @asynccontextmanager
    async def reserve_in_queue(
        self, peer: str, spec: CallSpec, tell: Tell, history: History | None = None
    ) -> AsyncIterator[Reservation]:
        """The same for a client who waits in line while every slot is in use.

        tell: called with his position while he waits. history: of the conversation to go on with. Raises
        Unavailable, OverQuota, or NoFreeSlot when too many wait.
        """
        async with AsyncExitStack() as held:
            held.enter_context(self._admission.client(peer))
            if spec.loopback:
                yield await held.enter_async_context(self._reserve(spec))
                return
            await self._until_workers()
            yield await self._queue.wait(
                lambda: held.enter_async_context(self._reserve(spec, history)), tell, self._check_queue
            )

    async def converse(self, session_id: str, reservation: Reservation, read: Read, send: Send) -> None:
        """A call from `Started` to `Ended`. Raises SessionError, alone or in a group, and whatever read and send do.

        read: must call `hang_up` at the end; cancelled when the call ends first. send: one item at a time.
        """
        spec = reservation.spec
        call = Call(session_id, spec, self._settings, self._metrics, reservation.streams, reservation.history)
        setup_s = time.monotonic() - reservation.asked_s
        self._metrics.setup_s.observe(setup_s)
        _log.info("call up session=%s label=%r", session_id, spec.label)
        self._calls.add(call)
        try:
            await self._in_time(send(_started(session_id, reservation, setup_s)))
            async with asyncio.TaskGroup() as tasks, aclosing(call.outgoing()) as outgoing:
                reader = tasks.create_task(read(call))
                tasks.create_task(call.run())
                async for item in outgoing:
                    await send(item)
                reader.cancel()
        finally:
            self._calls.discard(call)
        await self._in_time(send(Ended(call.cut_short, call.counters)))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        """For what no limit of the call watches: a client that reads nothing keeps no slot."""
        await within(sending, self._settings.flush_timeout_s, "the client does not read")

    @asynccontextmanager
    async def _reserve(self, spec: CallSpec, history: History | None = None) -> AsyncIterator[Reservation]:
        asked_s = time.monotonic()
        history = history or History()
        with self._admission.place():
            streams = await self._open_streams(spec, history)
            try:
                self._admission.require_open()  # a call that opens into a drain would never be told
                yield Reservation(spec, streams, history, asked_s)
            finally:
                if streams is not None:
                    streams.cancel()

    def _has_room(self) -> bool:
        return self._admission.has_room and self._codec.has_room and self._lm.has_room

    def _check_queue(self) -> None:
        """Who waits in line waits for a call to end, and only a little for a machine to come back."""
        self._admission.require_open()
        for pool in (self._codec, self._lm):
            if pool.without_s > self._settings.open_timeout_s:
                raise Unavailable(f"no {pool.service} worker is within reach")

    async def _until_workers(self) -> None:
        """The same before the line: a gateway may be younger than its workers."""
        for pool in (self._codec, self._lm):
            try:
                async with asyncio.timeout(self._settings.open_timeout_s):
                    await pool.until_found()
            except TimeoutError:
                raise Unavailable(f"no {pool.service} worker is within reach") from None

    async def _open_streams(self, spec: CallSpec, history: History) -> CallStreams | None:
        if spec.loopback:
            return None
        try:
            return await self._open_in_time(spec, history)
        except SessionError as error:
            self._metrics.rejected(error.status)
            raise

    async def _open_in_time(self, spec: CallSpec, history: History) -> CallStreams:
        try:
            async with asyncio.timeout(self._settings.open_timeout_s):
                before = list(history.messages(_HISTORY_FRAMES))
                return await CallStreams.open(self._codec, self._lm, spec.sampling, before)
        except TimeoutError:
            raise Unavailable("the workers did not open the call in time") from None


def _started(session_id: str, reservation: Reservation, setup_s: float) -> Started:
    if (streams := reservation.streams) is None:
        return Started(session_id, reservation.spec, setup_s, common_pb2.Sampling(), Checkpoints())
    checkpoints = Checkpoints(streams.encode.checkpoint, streams.lm.checkpoint)
    return Started(session_id, reservation.spec, setup_s, streams.lm.sampling, checkpoints)
