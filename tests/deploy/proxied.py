"""A gateway behind a real proxy, and clients that reach it through that alone."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from moshi_cluster.cluster.ports import free_ports
from moshi_cluster.cluster.process import ServiceProcess
from moshi_cluster.v1 import gateway_pb2_grpc
from tests.deploy.proxy_processes import Proxy, Replacements, Upstream, proxy
from tests.services.gateway.api.websocket.chatter import HTTP, Chatter
from tests.services.gateway.cluster import Cluster, EchoCodec, EchoLm, cluster
from tests.services.in_process import serving

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {**HTTP, "trusted_proxies": ("127.0.0.1",)}
ELSEWHERE = "127.0.0.9"
"""An address of this machine that is no trusted proxy's."""


@dataclass
class Behind:
    """What clients see of a gateway behind a proxy."""

    proxy: Proxy
    channel: grpc.aio.Channel

    @property
    def stub(self) -> gateway_pb2_grpc.GatewayStub:
        return gateway_pb2_grpc.GatewayStub(self.channel)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.proxy.http_port}/"

    @asynccontextmanager
    async def chatting(self, query: str = "", source: str | None = None, **options: Any) -> AsyncIterator[Chatter]:
        """A connection to /api/chat. source: the address that it comes from."""
        async with (
            self.session(source) as session,
            session.ws_connect(f"{self.url}api/chat{query}", **options) as connection,
        ):
            yield Chatter(connection)

    def session(self, source: str | None = None) -> aiohttp.ClientSession:
        """A browser that trusts the proxy's certificate."""
        trust = ssl.create_default_context(cafile=str(self.proxy.certificate))
        address = (source, 0) if source else None
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, local_addr=address))


@asynccontextmanager
async def behind(
    name: str, folder: Path, *upstreams: Upstream, changes: Replacements | None = None
) -> AsyncIterator[Behind]:
    """A proxy of this name in front of gateways, and a channel to it. changes: to its file."""
    with proxy(name, folder, *upstreams, changes=changes) as running:
        async with channel_to(running) as channel:
            yield Behind(running, channel)


@asynccontextmanager
async def channel_to(running: Proxy, port: int | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """port: another one than the proxy's own, that leads to it."""
    credentials = grpc.ssl_channel_credentials(running.certificate.read_bytes())
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port or running.grpc_port}", credentials, options) as channel:
        yield channel


@asynccontextmanager
async def cluster_behind(
    name: str, folder: Path, changes: Replacements | None = None, **settings: Any
) -> AsyncIterator[tuple[Cluster, Behind]]:
    """A cluster of echoing workers behind a proxy; changes: to its file; settings: of its gateway."""
    if name == "haproxy":
        settings["grpc_forwarded_for"] = False
    async with (
        cluster(**SETTINGS | settings) as all_of_it,
        behind(name, folder, upstream_of(all_of_it), changes=changes) as seen,
    ):
        yield all_of_it, seen


def upstream_of(all_of_it: Cluster) -> Upstream:
    return Upstream(int(all_of_it.target.rpartition(":")[2]), all_of_it.service.http_port)


@asynccontextmanager
async def gateway_processes(folder: Path, count: int = 1) -> AsyncIterator[Sequence[ServiceProcess]]:
    """Gateways that one may kill, in front of the same echoing workers."""
    async with serving(EchoCodec()) as codec, serving(EchoLm()) as lm:
        made = []
        for number in range(count):
            port, http_port, metrics_port = free_ports(3)
            environment = {
                "PYTHONPATH": str(ROOT),  # this checkout's code, whatever else is installed
                "MOSHI_GATEWAY_HOST": "127.0.0.1",
                "MOSHI_GATEWAY_PORT": str(port),
                "MOSHI_GATEWAY_HTTP_PORT": str(http_port),
                "MOSHI_GATEWAY_METRICS_PORT": str(metrics_port),
                "MOSHI_GATEWAY_CODEC_TARGETS": codec.target,
                "MOSHI_GATEWAY_LM_TARGETS": lm.target,
                "MOSHI_GATEWAY_TRUSTED_PROXIES": "127.0.0.1",
                "MOSHI_GATEWAY_DRAIN_GRACE_S": "4",
            }
            made.append(ServiceProcess(f"gateway-{number}", "gateway", environment, folder / f"gateway-{number}.log"))
        try:
            for each in made:
                each.start()
            for each in made:
                while not await asyncio.to_thread(lambda each=each: each.serving):
                    each.check()
            yield made
        finally:
            for each in made:
                each.kill()


def upstreams_of(gateways: Sequence[ServiceProcess]) -> list[Upstream]:
    return [Upstream(each.settings.port, each.settings.http_port) for each in gateways]


@asynccontextmanager
async def relayed_from(source: str, port: int) -> AsyncIterator[int]:
    """A port whose connections reach another one from an address of this machine."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, there), _copy(there_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
