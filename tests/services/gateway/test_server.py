"""The life of a gateway: what a drain refuses, tells and cuts, and what makes the process fail."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.caller import START, Caller, Kind, frame, status_after
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.gateway.workers.test_streams import SilentLm
from tests.services.in_process import PATIENCE_S, eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


async def test_a_drain_refuses_new_calls_and_lets_live_ones_finish() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        all_of_it.service.drain(60.0)
        assert await status_after(all_of_it, START) == (grpc.StatusCode.UNAVAILABLE, "the gateway is draining")
        notice = (await caller.until("event")).event
        assert (notice.kind, notice.detail) == (Kind.KIND_GO_AWAY, "the gateway stops: the call ends in 58 s")
        await caller.say_levels([2])
        heard = await caller.hang_up()
        assert heard.levels == [1, 2]
        assert heard.ended.reason == gateway_pb2.Ended.REASON_HANGUP
        await all_of_it.service.until_idle()


async def test_a_call_that_outlasts_the_drain_is_flushed_and_told_why() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2])
        await caller.say(frame(3)[: 4 * 7])
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="in") == 2)
        all_of_it.service.drain(1.0)
        heard = await caller.rest()
        assert heard.ended.reason == gateway_pb2.Ended.REASON_SHUTDOWN
        assert heard.levels[:2] == [1, 2]
        assert heard.counters.frames_out == heard.counters.frames_in
        await all_of_it.service.until_idle()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="shutdown") == 1
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="ok") == 0


@pytest.mark.parametrize("service", ["codec", "lm"])
async def test_a_workers_drain_reaches_its_callers_with_the_time_that_is_left(service: str) -> None:
    codec, lm = EchoCodec(), EchoLm()
    async with cluster([codec], [lm]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        (codec if service == "codec" else lm).drain(60.0)
        notice = (await caller.until("event")).event
        who, left_s = notice.detail.removesuffix(" s").split(" stops: the call ends in ")
        assert (notice.kind, who) == (Kind.KIND_GO_AWAY, f"the {service} worker")
        assert 55 < float(left_s) <= 60
        await caller.say_levels([1, 2])
        assert (await caller.hang_up()).levels == [1, 2]
        await all_of_it.until_free()


@pytest.mark.parametrize("service", ["codec", "lm"])
async def test_a_call_that_outlasts_its_workers_drain_is_unavailable(service: str) -> None:
    codec, lm = EchoCodec(), EchoLm()
    async with cluster([codec], [lm]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        await caller.answered(1)
        worker = codec if service == "codec" else lm
        worker.drain(60.0)
        await caller.until("event", Kind.KIND_GO_AWAY)
        worker.drain(0.2)
        code, details = await caller.status()
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details.endswith(": the worker stops, and the time to finish is over")
        assert [event.kind for event in caller.heard.events(Kind.KIND_GO_AWAY)] == [Kind.KIND_GO_AWAY]
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="UNAVAILABLE") == 1


async def test_a_call_that_opens_into_a_drain_is_refused() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        unstarted, opening = Caller(all_of_it.stub), Caller(all_of_it.stub)
        await opening.send_start()
        await silent.entered.wait()
        all_of_it.service.drain(60.0)
        silent.go_on.set()
        assert await opening.status() == (grpc.StatusCode.UNAVAILABLE, "the gateway is draining")
        unstarted.call.cancel()
        await all_of_it.until_free()


async def test_the_service_fails_when_it_can_no_longer_look_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    async with cluster(resolve_interval_s=0.05) as all_of_it:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", broken)
        async with asyncio.timeout(PATIENCE_S):
            assert str(await all_of_it.service.failed) == "a bug"
