"""Two gateways of one cluster that share a session store, in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.secret_url import SecretUrl
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.server import GatewayService
from moshi_cluster.v1 import common_pb2, gateway_pb2, gateway_pb2_grpc
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import LEVELS, EchoLm, cluster, gateway
from tests.services.gateway.store.redis_server import RedisServer
from tests.services.in_process import eventually

SAMPLING = common_pb2.Sampling(text_temperature=0.5, seed=7)


@dataclass
class Gateway:
    """One of them."""

    service: GatewayService
    manager: CallManager
    registry: CollectorRegistry
    channel: grpc.aio.Channel
    callers: list[Caller] = field(default_factory=list)

    def caller(self, bearer: str = "") -> Caller:
        metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()
        self.callers.append(Caller(gateway_pb2_grpc.GatewayStub(self.channel), metadata))
        return self.callers[-1]

    def steps(self, outcome: str) -> float:
        return self.registry.get_sample_value("moshi_gateway_store_steps_total", {"outcome": outcome}) or 0.0

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    async def talking(self, frames: int = 5, bearer: str = "") -> tuple[Caller, str]:
        """A caller who has had this many answers, and their resume token."""
        caller = self.caller(bearer)
        started = await caller.start(sampling=SAMPLING)
        await self.say(caller, frames)
        return caller, started.resume_token

    async def say(self, caller: Caller, frames: int) -> None:
        """Has this many frames more answered, and their tokens in the history."""
        before = len(caller.heard.packets)
        await caller.say_levels(number % LEVELS for number in range(before, before + frames))
        await caller.answered(before + frames)

    async def resumes(self, token: str, bearer: str = "", **fields: Any) -> gateway_pb2.Started:
        return await self.caller(bearer).start(resume_token=token, **fields)

    async def refuses(self, token: str, bearer: str = "") -> tuple[grpc.StatusCode, str, bool]:
        """The status and reason of a call that wants to go on, and whether it may try again."""
        caller = self.caller(bearer)
        await caller.send_start(resume_token=token)
        return await refusal_of(caller)

    async def stored(self, frames: int) -> None:
        """Returns once the store has that many frames of this gateway's one conversation."""
        store = self.manager.conversations._store
        assert store is not None
        await eventually(lambda: [entry.stored_frames for entry in store._writer._entries] == [frames])

    async def settled(self) -> None:
        """Returns once nothing is left to be written but what is live."""
        store = self.manager.conversations._store
        assert store is not None
        await eventually(lambda: not any(entry.phase.is_last for entry in store._writer._entries))


@dataclass
class Pair:
    """A store, two gateways and the lm behind them."""

    one: Gateway
    other: Gateway
    lm: EchoLm

    @property
    def histories(self) -> list[list[int]]:
        """The text tokens that each session of the lm was opened with."""
        return [[row[0] for row in spec.history.tolist()] for spec in self.lm.runner.specs.values()]


def store_settings(redis: RedisServer, key_file: str, **settings: Any) -> dict[str, Any]:
    shared = {"session_store": SecretUrl(redis.url), "session_store_key_file": key_file}
    return {**shared, "session_store_interval_s": 0.05, **settings}


@asynccontextmanager
async def pair(
    redis: RedisServer, key_file: str, others: dict[str, Any] | None = None, lm: EchoLm | None = None, **settings: Any
) -> AsyncIterator[Pair]:
    """settings: of both gateways. others: of the second one alone."""
    lm, chosen = lm or EchoLm(), store_settings(redis, key_file, **settings)
    async with cluster(lms=[lm], **chosen) as first:
        codec_target, lm_target = (listening.target for listening in first.listening)
        async with gateway([codec_target], [lm_target], **{**chosen, **(others or {})}) as second:
            service, manager, registry, listening = second
            one = Gateway(first.service, first.manager, first.registry, first.channel)
            both = Pair(one, Gateway(service, manager, registry, listening.channel), lm)
            yield both
            for caller in (*both.one.callers, *both.other.callers):
                caller.call.cancel()
            await eventually(lambda: not (both.one.manager.live_sessions or both.other.manager.live_sessions))


async def refusal_of(caller: Caller) -> tuple[grpc.StatusCode, str, bool]:
    try:
        await caller.rest()
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)
        assert status is not None
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        may_retry = any(detail.Unpack(retry) for detail in status.details)
        assert any(detail.Unpack(info) for detail in status.details)
        return error.code(), info.reason, may_retry
    raise AssertionError("the call ended well")
