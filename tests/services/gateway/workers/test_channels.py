"""Gateway and workers that show each other certificates, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from moshi_cluster.services.common.certificates import worker_credentials
from moshi_cluster.services.common.mux.client import MuxStream
from moshi_cluster.services.common.probe import is_serving
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.workers.channels import PLAIN, WorkerChannels
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.worker import WatchTimes, Worker
from moshi_cluster.v1 import codec_pb2
from tests.services.authority import Authority
from tests.services.gateway.cluster import EchoCodec
from tests.services.in_process import PATIENCE_S, eventually, lasting_address, serving

ENCODE = "/moshi_cluster.v1.Codec/Encode"
QUICK = WatchTimes(retry_s=0.02)


@asynccontextmanager
async def pool_of(target: str, channels: WorkerChannels) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool("codec", [target], 60.0, 250, QUICK, channels)
    running = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def reaches(target: str, channels: WorkerChannels, within_s: float = 1.0) -> bool:
    """Whether a channel can be made; one that is refused tries for a while."""
    async with channels.open(target, "codec") as channel:
        try:
            async with asyncio.timeout(within_s):
                await channel.channel_ready()
        except TimeoutError:
            return False
        return True


def folders(tmp_path: Path, authority: Authority, name: str = "codec") -> tuple[str, str]:
    """Of a worker and of a gateway."""
    return str(authority.issue(tmp_path / "worker", name)), str(authority.issue(tmp_path / "gateway", "gateway"))


async def test_calls_go_to_workers_that_show_a_certificate_and_want_one(tmp_path: Path) -> None:
    worker, gateway = folders(tmp_path, Authority())
    life = serving(EchoCodec(), worker_credentials(worker, "MTLS"))
    async with life as listener, pool_of(listener.target, WorkerChannels(gateway)) as pool:
        await asyncio.wait_for(pool.until_found(), PATIENCE_S)
        stream = await pool.acquire(hold)
        stream.cancel()


async def hold(worker: Worker) -> MuxStream[codec_pb2.CodeFrame]:
    stream = worker.mux.open(ENCODE, codec_pb2.CodeFrame)
    await stream.until_held()
    return stream


async def test_strangers_reach_no_worker(tmp_path: Path) -> None:
    """Without a certificate, or with another authority's."""
    worker, gateway = folders(tmp_path, Authority())
    stranger = Authority("stranger").issue(tmp_path / "stranger", "gateway")
    (stranger / "ca.crt").write_bytes(
        (tmp_path / "gateway" / "ca.crt").read_bytes()
    )  # believes the worker all the same
    async with serving(EchoCodec(), worker_credentials(worker, "MTLS")) as listener:
        assert not await reaches(listener.target, PLAIN)
        assert not await reaches(listener.target, WorkerChannels(str(stranger)))
        assert await reaches(listener.target, WorkerChannels(gateway), PATIENCE_S)


async def test_a_process_that_is_no_codec_of_ours_gets_no_calls(tmp_path: Path) -> None:
    """Another service's certificate does not do, nor another authority's."""
    authority = Authority()
    worker, gateway = folders(tmp_path, authority, "lm")
    async with serving(EchoCodec(), worker_credentials(worker, "MTLS")) as listener:
        assert not await reaches(listener.target, WorkerChannels(gateway))


async def test_renewed_certificates_are_used_without_a_restart(tmp_path: Path) -> None:
    """Even when the authority is another one: the connection that stands goes on, the next one is with the new."""
    worker, gateway = folders(tmp_path, Authority("old"))
    channels = WorkerChannels(gateway)
    life = serving(EchoCodec(), worker_credentials(worker, "MTLS"), lasting_address())
    async with life as listener, pool_of(listener.target, channels) as pool:
        await asyncio.wait_for(pool.until_found(), PATIENCE_S)
        folders(tmp_path, Authority("new"))
        await eventually(lambda: channels.pair is not pool._workers[listener.target]._pair)
        assert pool.usable, "nothing was cut"
        async with asyncio.timeout(PATIENCE_S):
            while not await reaches(listener.target, channels):
                pass
        [known] = pool._workers.values()
        known.mux.lose("the test cuts it")
        await listener.server.stop(None)
        async with serving(EchoCodec(), worker_credentials(worker, "MTLS"), listener.target):
            # It may still count as usable for a moment, with the connection that has just been cut.
            await eventually(lambda: bool(pool.usable) and known._pair is channels.pair)


async def test_the_probe_shows_the_workers_own_pair(tmp_path: Path) -> None:
    worker, _ = folders(tmp_path, Authority())
    async with serving(EchoCodec(), worker_credentials(worker, "MTLS")) as listener:
        ask = asyncio.to_thread(is_serving, listener.target, 5.0, Path(worker), "codec")
        assert not await ask, "this one serves no health, and says so"
        async with grpc.aio.insecure_channel(listener.target) as plain:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(plain.channel_ready(), 0.5)


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key", "ca.crt"])
def test_a_folder_that_lacks_something_is_an_error_at_start(tmp_path: Path, missing: str) -> None:
    worker, gateway = folders(tmp_path, Authority())
    for folder in worker, gateway:
        (Path(folder) / missing).write_text("no PEM")
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_WORKERS_MTLS_DIR: no usable tls.crt, tls.key, ca.crt"):
        WorkerChannels(gateway)
    with pytest.raises(SettingError, match="MOSHI_CODEC_MTLS_DIR: no usable tls.crt, tls.key, ca.crt"):
        worker_credentials(worker, "MOSHI_CODEC_MTLS_DIR")
