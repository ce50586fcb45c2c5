"""The public gRPC service: the wire on one side, `Call` on the other."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import grpc

from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.errors import SessionError, Unavailable
from services.common.streams import session_error, statuses, within
from services.gateway.admission import Admission
from services.gateway.call import Call
from services.gateway.hops import Hops
from services.gateway.metrics import GatewayMetrics
from services.gateway.render import render
from services.gateway.requests import Requests, read_caller, read_start
from services.gateway.settings import GatewaySettings
from services.gateway.spec import CallSpec
from services.gateway.start_metadata import parse_call
from services.gateway.workers import WorkerPool

_CUT_BEFORE_END_S = 2.0

_log = logging.getLogger(__name__)


class GatewayService(gateway_pb2_grpc.GatewayServicer):
    """Converse: one stream is one call. Implements services.common.lifecycle.Service."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._metrics = metrics
        self._codec = WorkerPool("codec", settings.codec_targets, settings.resolve_interval_s, settings.retry_after_ms)
        self._lm = WorkerPool("lm", settings.lm_targets, settings.resolve_interval_s, settings.retry_after_ms)
        self._pools: list[asyncio.Task[None]] = []
        self._calls: set[Call] = set()
        self._admission = Admission(settings, metrics)

    # --- the life of the process

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        gateway_pb2_grpc.add_GatewayServicer_to_server(self, server)
        return ["moshi_cluster.v1.Gateway"]

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

    async def Converse(self, request_iterator: Requests, context: grpc.aio.ServicerContext) -> None:
        session_id = uuid.uuid4().hex
        async with statuses(context), self._outcome(session_id):
            # Read before refusing: a refusal that crosses the caller's first message can reach him as INTERNAL.
            start = await within(read_start(request_iterator), self._settings.open_timeout_s, "no `start` came")
            with self._admission.place(context.peer()):
                await self._converse(session_id, start, request_iterator, context)

    async def _converse(
        self,
        session_id: str,
        start: gateway_pb2.Start,
        requests: Requests,
        context: grpc.aio.ServicerContext,
    ) -> None:
        settings = self._settings
        start_s = time.monotonic()
        spec = parse_call(start, context.invocation_metadata() or (), settings)
        hops = await self._open_hops(spec)
        try:
            self._admission.require_open()  # a call that opens into a drain would never be told
            call = Call(session_id, spec, settings, self._metrics, hops)
            setup_s = time.monotonic() - start_s
            self._metrics.setup_s.observe(setup_s)
            _log.info("call up session=%s label=%r", session_id, spec.label)
            await context.write(_started(session_id, spec, setup_s))
            self._calls.add(call)
            try:
                async with asyncio.TaskGroup() as tasks, aclosing(call.outgoing()) as outgoing:
                    reader = tasks.create_task(read_caller(requests, start, call, settings.max_messages_per_s))
                    tasks.create_task(call.run())
                    async for item in outgoing:
                        await context.write(render(item))
                    reader.cancel()
            finally:
                self._calls.discard(call)
            await context.write(gateway_pb2.ConverseResponse(ended=_ended(call)))
        finally:
            if hops is not None:
                hops.cancel()

    async def _open_hops(self, spec: CallSpec) -> Hops | None:
        if spec.loopback:
            return None
        try:
            return await self._open_in_time(spec)
        except SessionError as error:
            self._metrics.rejected(error.status)
            raise

    async def _open_in_time(self, spec: CallSpec) -> Hops:
        try:
            async with asyncio.timeout(self._settings.open_timeout_s):
                return await Hops.open(self._codec, self._lm, spec.sampling)
        except TimeoutError:
            raise Unavailable("the workers did not open the call in time") from None

    @asynccontextmanager
    async def _outcome(self, session_id: str) -> AsyncIterator[None]:
        """Counts and logs how a call ended."""
        outcome = "INTERNAL"
        try:
            yield
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


def _started(session_id: str, spec: CallSpec, setup_s: float) -> gateway_pb2.ConverseResponse:
    output = gateway_pb2.AudioFormat(
        encoding=gateway_pb2.Encoding.Name(spec.output_format.encoding), sample_rate_hz=spec.output_format.rate_hz
    )
    started = gateway_pb2.Started(
        session_id=session_id,
        output_format=output,
        reply_packet_ms=spec.reply_packet_ms,
        seed=spec.sampling.seed,
        setup_us=round(setup_s * 1e6),
    )
    return gateway_pb2.ConverseResponse(started=started)


def _ended(call: Call) -> gateway_pb2.Ended:
    reason = gateway_pb2.Ended.REASON_SHUTDOWN if call.cut_short else gateway_pb2.Ended.REASON_HANGUP
    return gateway_pb2.Ended(reason=reason, counters=call.counters.message())
