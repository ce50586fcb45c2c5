"""The call manager with loopback calls and no transport: drain, callers who read nothing, how calls are counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.events import CallEvent, Ended, EventKind, Outgoing, Started
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2
from tests.services.in_process import eventually

FLOATS = AudioFormat(Encoding.PCM_F32LE, 24_000)
SPEC = CallSpec(FLOATS, FLOATS, 80, 0.1, common_pb2.Sampling(seed=1), loopback=True)
PEER = "10.0.0.1"


class Managing:
    """A manager, and the transports of its calls."""

    def __init__(self, **settings: float) -> None:
        self.registry = CollectorRegistry()
        self.manager = CallManager(GatewaySettings(**settings), GatewayMetrics(self.registry))

    async def converse(
        self, read: Callable[[Call], Awaitable[None]], send: Callable[[Outgoing], Awaitable[None]]
    ) -> None:
        """A call from its session to its end."""
        async with self.manager.session("grpc") as record, self.manager.reserve(PEER, SPEC) as reservation:
            await self.manager.converse(record, reservation, read, send)

    @asynccontextmanager
    async def calling(
        self, read: Callable[[Call], Awaitable[None]], send: Callable[[Outgoing], Awaitable[None]]
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A call in a task, which is over afterwards."""
        call = asyncio.create_task(self.converse(read, send))
        try:
            yield call
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    def ended(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("moshi_gateway_sessions_total", {"outcome": outcome, "transport": "grpc"})


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_call_begins_with_started_and_ends_with_ended_and_is_counted() -> None:
    managing, sent = Managing(), []

    async def read(call: Call) -> None:
        assert [live.call for live in managing.manager.calls] == [call]
        assert managing.registry.get_sample_value("moshi_gateway_calls_active") == 1
        call.hang_up()

    async def send(item: Outgoing) -> None:
        sent.append(item)

    await managing.converse(read, send)
    started, ended = sent
    assert isinstance(started, Started) and started.spec is SPEC
    assert isinstance(ended, Ended) and not ended.cut_short
    assert managing.manager.live_sessions == 0 and not managing.manager.calls
    assert managing.registry.get_sample_value("moshi_gateway_calls_active") == 0
    assert managing.ended("ok") == 1


async def test_a_drain_reaches_every_call_although_one_has_read_nothing() -> None:
    managing, stuck, full, told = Managing(reply_notes_max=10), asyncio.Event(), asyncio.Event(), []

    async def fill(call: Call) -> None:
        call.mark("m")
        await stuck.wait()
        with contextlib.suppress(LimitReached):
            while True:
                call.mark("m")
        full.set()
        await never()

    async def read_nothing(item: Outgoing) -> None:
        if not isinstance(item, Started):
            stuck.set()
            await never()

    async def listen(item: Outgoing) -> None:
        told.append(item)

    async with managing.calling(fill, read_nothing), managing.calling(never, listen):
        await full.wait()
        await eventually(lambda: len(managing.manager.calls) == 2)
        managing.manager.drain(60.0)
        await eventually(lambda: len(told) == 2)
        assert told[1] == CallEvent(EventKind.GO_AWAY, 0, detail="the gateway stops: the call ends in 58 s")
    await managing.manager.stop()


async def test_what_outlasts_a_drain_is_cut_and_told_why() -> None:
    managing, sent = Managing(), []

    async def send(item: Outgoing) -> None:
        sent.append(item)

    async with managing.calling(never, send) as call:
        await eventually(lambda: len(sent) == 1)
        managing.manager.drain(0.0)
        await call
    assert isinstance(sent[-1], Ended) and sent[-1].cut_short
    assert (managing.ended("shutdown"), managing.ended("ok")) == (1, 0)
    await managing.manager.until_idle()


async def test_a_client_that_reads_nothing_from_the_beginning_keeps_no_slot() -> None:
    managing = Managing(flush_timeout_s=0.1)
    with pytest.raises(LimitReached, match="does not read"):
        await managing.converse(never, never)
    assert managing.manager.live_sessions == 0
    assert managing.ended("DEADLINE_EXCEEDED") == 1
