"""Workers that drain, as their gateways treat them: new calls go elsewhere, and here only while there is no other."""

from __future__ import annotations

import asyncio
import socket

import pytest

from moshi_cluster.services.common.errors import Unavailable
from moshi_cluster.services.common.mux.client import MuxStream
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.v1 import codec_pb2
from tests.services.gateway.cluster import EchoCodec
from tests.services.gateway.workers.test_names import GONE, LOOPBACK, Names
from tests.services.gateway.workers.test_pool import address_of, known, until_all_report, watching
from tests.services.in_process import PATIENCE_S, eventually, few_turns, lasting_address, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

ENCODE = "/moshi_cluster.v1.Codec/Encode"
LONG_S = 1000.0  # beyond any test
OTHER = (socket.AF_INET, "127.0.0.2")


def lingering() -> EchoCodec:
    """A worker that takes sessions for as long as the test lasts after it was told to stop."""
    return EchoCodec(2, drain_linger_s=LONG_S)


def leaves(codec: EchoCodec) -> asyncio.Task[None]:
    """Tells a worker to stop; the task ends when it may."""
    codec.drain(2 * LONG_S)
    return asyncio.create_task(codec.until_idle())


async def drains(pool: WorkerPool, address: str) -> None:
    await eventually(lambda: known(pool)[address].draining.is_set())


async def opened(pool: WorkerPool, address: str) -> MuxStream[codec_pb2.CodeFrame]:
    stream = known(pool)[address].mux.open(ENCODE, codec_pb2.CodeFrame)
    async with asyncio.timeout(PATIENCE_S):
        await stream.until_held()
    return stream


async def test_new_calls_go_to_a_worker_that_stays() -> None:
    leaving = lingering()
    async with (
        serving(leaving) as first,
        serving(EchoCodec(2)) as second,
        watching(first.target, second.target) as pool,
    ):
        await until_all_report(pool, 2)
        stream = await opened(pool, first.target)
        may_end = leaves(leaving)
        await drains(pool, first.target)
        assert {await pool.acquire(address_of) for _ in range(2)} == {second.target}
        assert not may_end.done()
        stream.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await may_end


async def test_the_only_worker_takes_new_calls_although_it_leaves_until_its_linger_is_over() -> None:
    leaving = lingering()
    async with serving(leaving) as worker, watching(worker.target) as pool:
        may_end = leaves(leaving)
        await drains(pool, worker.target)
        assert await pool.acquire(address_of) == worker.target
        (await opened(pool, worker.target)).cancel()
        leaving.drain(0.2)  # shortens the linger to half of it
        async with asyncio.timeout(PATIENCE_S):
            await may_end  # although the gateway would have it
        await eventually(lambda: not pool.is_reachable)
        with pytest.raises(Unavailable, match="no codec worker is within reach"):
            await pool.acquire(address_of)


async def test_a_worker_is_let_go_of_once_another_one_is_there_and_the_next_at_its_address_is_a_new_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    leaving = lingering()
    async with serving(leaving, address=lasting_address()) as worker:
        port = worker.target.rpartition(":")[2]
        looked_up = Names(monkeypatch)
        looked_up.answer = [LOOPBACK]
        times = {"let_go_retry_s": 0.05, "leaving_resolve_s": 0.05}
        async with watching(f"codec.internal:{port}", **times) as pool:
            may_end = leaves(leaving)
            await drains(pool, worker.target)
            await few_turns()
            assert not may_end.done() and pool.is_reachable
            async with serving(EchoCodec(2), address=f"127.0.0.2:{port}") as second:
                looked_up.answer = [LOOPBACK, OTHER]  # the names are looked up every minute, were it not for the drain
                async with asyncio.timeout(PATIENCE_S):
                    await may_end
                assert await pool.acquire(address_of) == second.target
                await asyncio.sleep(0.3)  # it is asked again several times
                assert caplog.text.count(f"worker let go address={worker.target}") == 1
                assert caplog.text.count(f"worker up address={worker.target}") == 1
                assert "worker down" not in caplog.text
                await worker.server.stop(None)
                async with serving(EchoCodec(2), address=worker.target):
                    await until_all_report(pool, 2)
                    assert not known(pool)[worker.target].draining.is_set()


async def test_a_worker_that_carries_a_call_is_not_let_go_of() -> None:
    leaving = lingering()
    async with (
        serving(leaving) as first,
        serving(EchoCodec(2)) as second,
        watching(first.target, second.target) as pool,
    ):
        await until_all_report(pool, 2)
        stream = await opened(pool, first.target)
        leaves(leaving)
        await drains(pool, first.target)
        await asyncio.sleep(0.1)
        assert known(pool)[first.target].capacity is not None
        stream.cancel()
        await eventually(lambda: known(pool)[first.target].capacity is None)


async def test_the_only_worker_takes_new_calls_although_its_name_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = Names(monkeypatch)
    looked_up.answer = [LOOPBACK]
    leaving = lingering()
    async with (
        serving(leaving) as worker,
        watching(worker.target, resolve_interval_s=0.01, let_go_retry_s=0.01) as pool,
    ):
        leaves(leaving)
        await drains(pool, worker.target)
        looked_up.answer = GONE
        await eventually(lambda: not known(pool)[worker.target].is_named)
        assert await pool.acquire(address_of) == worker.target
        port = worker.target.rpartition(":")[2]
        async with serving(EchoCodec(2), address=f"127.0.0.2:{port}"):
            looked_up.answer = [OTHER]
            await eventually(lambda: worker.target not in known(pool))


async def test_a_worker_that_speaks_other_codes_takes_nobodys_place() -> None:
    leaving = lingering()
    async with (
        serving(leaving) as first,
        serving(EchoCodec(2, codebooks=4)) as foreign,
        watching(first.target, foreign.target) as pool,
    ):
        await until_all_report(pool, 2)
        may_end = leaves(leaving)
        await drains(pool, first.target)
        assert {worker.address for worker in pool.taking} == {first.target, foreign.target}
        await asyncio.sleep(0.1)
        assert not may_end.done()
        may_end.cancel()
