"""An HTTP connection under clients that mean no good, or nothing at all: by hand, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.listening import open_listeners
from moshi_cluster.services.gateway.admission.loop_budget import LoopBudget
from moshi_cluster.services.gateway.api.http.connection import HttpConnection
from moshi_cluster.services.gateway.api.http.connection_limits import ConnectionLimits
from moshi_cluster.services.gateway.api.http.listener import Leave, Listener
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK, chatting
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually
from tests.tracebacks import tracebacks

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

PAGE: dict[str, Any] = HTTP | {"web_dir": "clients/web"}
SECRET = "secret-token-7fe1"
_LONG_BYTES = 800_000  # more than aiohttp takes before anybody reads


class Wire:
    """A TCP connection to the HTTP port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """All until the server closes."""
        async with asyncio.timeout(60):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def upgrade(self, query: str = LOOPBACK) -> None:
        """Becomes a WebSocket."""
        key = base64.b64encode(bytes(16)).decode()
        lines = [f"GET /api/chat{query} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
        await self.send("\r\n".join(lines).encode())
        assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")


@asynccontextmanager
async def wire(all_of_it: Cluster) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", all_of_it.service.http_port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def open_connections(all_of_it: Cluster) -> float:
    return all_of_it.sample("moshi_gateway_http_connections")


# --- requests that do not come


@pytest.mark.parametrize(
    "said",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /"],
    ids=["nothing", "a letter", "half a request", "one request", "another half"],
)
async def test_a_connection_without_a_whole_request_in_time_is_closed(said: bytes) -> None:
    async with cluster(http_request_timeout_s=0.1, **HTTP) as all_of_it, wire(all_of_it) as client:
        await client.send(said)
        await client.answer()
        await eventually(lambda: not open_connections(all_of_it))


async def test_a_request_that_drips_in_is_not_waited_for() -> None:
    async with cluster(http_request_timeout_s=0.2, **HTTP) as all_of_it, wire(all_of_it) as client:

        async def drip() -> None:
            while not client.writer.is_closing():
                client.writer.write(b"a")
                await asyncio.sleep(0.01)

        await client.send(b"GET /health?")
        dripping = asyncio.create_task(drip())
        await client.answer()
        dripping.cancel()
        await eventually(lambda: not open_connections(all_of_it))


async def test_a_websocket_is_no_request_that_does_not_come() -> None:
    async with cluster(http_request_timeout_s=2.5, **HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await asyncio.sleep(2.7)
        await chatter.say(1)
        await chatter.answered(1)


@asynccontextmanager
async def connections(**options: Any) -> AsyncIterator[tuple[int, set[HttpConnection]]]:
    """A port with an answer of a megabyte behind it, and the connections that it has; options: of each."""
    application = web.Application()
    application.router.add_get("/", _megabyte)
    application.router.add_get("/slow", _slow)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    metrics, live = GatewayMetrics(CollectorRegistry()), set()

    def connection(address: str, leave: Leave) -> HttpConnection:
        def gone() -> None:
            leave()
            live.discard(made)

        assert runner.server is not None
        made = HttpConnection(runner.server, LoopBudget().parsing(), metrics, address, 10.0, gone, **options)
        live.add(made)
        return made

    listener = Listener(connection, ConnectionLimits(100, 100, metrics), 10.0)
    await listener.start(open_listeners("127.0.0.1", 0, "MOSHI_GATEWAY_", "http_port"))
    try:
        yield listener.port, live
    finally:
        await listener.stop()
        await runner.cleanup()


async def _megabyte(request: web.Request) -> web.Response:
    return web.Response(body=bytes(1 << 20))


async def _slow(request: web.Request) -> web.WebSocketResponse:
    """Takes nothing for ten heartbeats, then everything; says how many bytes that was."""
    websocket = web.WebSocketResponse(heartbeat=0.2, max_msg_size=1 << 20, autoping=False)
    await websocket.prepare(request)
    await asyncio.sleep(2.0)
    total_bytes = 0
    async for message in websocket:
        if message.type is web.WSMsgType.BINARY:
            total_bytes += len(message.data)
        if total_bytes == _LONG_BYTES:
            await websocket.send_str(str(total_bytes))
    return websocket


async def test_a_client_that_is_not_read_for_long_is_not_taken_for_gone() -> None:
    """As one who sends a file: its answers to pings wait behind what it has sent."""
    async with connections(vouch_interval_s=0.02) as (port, live), aiohttp.ClientSession() as session:
        async with session.ws_connect(f"http://127.0.0.1:{port}/slow", autoping=False) as client:
            for _ in range(_LONG_BYTES // 100_000):
                await client.send_bytes(bytes(100_000))
            async with asyncio.timeout(60):
                while (message := await client.receive()).type is aiohttp.WSMsgType.PING:
                    await client.pong(message.data)
            assert message.data == str(_LONG_BYTES)
        await eventually(lambda: not live)


async def test_a_client_that_does_not_read_its_answer_is_let_go() -> None:
    async with connections(response_timeout_s=0.2) as (port, live):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        await eventually(lambda: len(live) == 1)
        await eventually(lambda: not live)
        writer.transport.abort()


async def test_others_get_their_turn_between_slices_and_no_byte_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much comes at once."""
    parsed: list[tuple[int, bytes]] = []
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(RequestHandler, "data_received", lambda self, data: parsed.append((turns, data)))
    async with connections() as (port, _live):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        counting = asyncio.create_task(count_turns())
        sent = bytes(range(256)) * 800
        writer.write(sent)
        await eventually(lambda: sum(len(data) for _, data in parsed) == len(sent))
        counting.cancel()
        assert b"".join(data for _, data in parsed) == sent
        assert max(len(data) for _, data in parsed) <= 4096
        assert len({turn for turn, _ in parsed}) >= len(sent) / 4096 / 2
        writer.transport.abort()


# --- how many


async def test_one_client_has_only_so_many_connections() -> None:
    async with cluster(max_http_connections_per_client=2, **HTTP) as all_of_it:
        async with wire(all_of_it), wire(all_of_it):
            await eventually(lambda: open_connections(all_of_it) == 2)
            async with wire(all_of_it) as third:
                assert await third.answer() == b""
            assert all_of_it.sample("moshi_gateway_http_refused_total", reason="client") == 1
        await eventually(lambda: not open_connections(all_of_it))
        async with wire(all_of_it) as again:
            await again.send(b"GET /health HTTP/1.0\r\n\r\n")
            assert (await again.answer()).endswith(b"serving\nfree slots: 8\n")


async def test_all_clients_together_have_only_so_many() -> None:
    async with cluster(max_http_connections=1, **HTTP) as all_of_it, wire(all_of_it):
        await eventually(lambda: open_connections(all_of_it) == 1)
        async with wire(all_of_it) as second:
            assert await second.answer() == b""
        assert all_of_it.sample("moshi_gateway_http_refused_total", reason="connections") == 1


# --- bad requests


BAD = {
    "a long address": f"GET /api/chat?token={SECRET}{'x' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n",
    "stray bytes": f"\x16\x03\x01{SECRET}\r\n\r\n",
    "no colon": f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {SECRET}\r\n\r\n",
    "a bad version": f"GET /?token={SECRET} HTTP/9.{SECRET}\r\nHost: x\r\n\r\n",
    "a long header": f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET * 600}\r\n\r\n",
    "a bad length": f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {SECRET}\r\n\r\n",
    "no upgrade": f"GET /api/chat?token={SECRET} HTTP/1.1\r\nHost: x\r\nUpgrade: {SECRET}\r\n\r\n",
    "a bad key": "GET /api/chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {SECRET}\r\n\r\n",
    "a bad websocket version": "GET /api/chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    f"Sec-WebSocket-Version: {SECRET}\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n",
}


@pytest.mark.parametrize("request_text", BAD.values(), ids=BAD)
async def test_a_bad_request_is_counted_and_nothing_of_it_is_repeated(
    request_text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with cluster(http_request_timeout_s=2.5, **HTTP) as all_of_it, wire(all_of_it) as client:
        await client.send(request_text.encode("latin-1"))
        answer = await client.answer()
        assert answer.split(b" ")[1] == b"400"
        assert SECRET.encode() not in answer
        assert b"Server: moshi-cluster\r\n" in answer
        assert all_of_it.sample("moshi_gateway_bad_requests_total") == 1
    logged = [record for record in caplog.records if not record.name.startswith("tests")]
    assert not any(SECRET in record.getMessage() for record in logged)
    assert not tracebacks(logged)


async def test_a_fault_of_our_own_is_told_without_its_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(**HTTP) as all_of_it:
        monkeypatch.setattr(type(all_of_it.manager), "takes_calls", property(lambda _: 1 / 0))
        async with wire(all_of_it) as client:
            await client.send(f"GET /health?{SECRET} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = await client.answer()
    assert answer.startswith(b"HTTP/1.1 500") and answer.endswith(b"the server failed\n")
    assert "ZeroDivisionError" in caplog.text


# --- headers


@pytest.mark.parametrize("path", ["/", "/health", "/nothing", "/api/chat"])
async def test_no_version_of_anything_is_told(path: str) -> None:
    async with cluster(**PAGE) as all_of_it, wire(all_of_it) as client:
        await client.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head = (await client.answer()).partition(b"\r\n\r\n")[0].decode()
        assert "Server: moshi-cluster" in head.split("\r\n")
        assert "aiohttp" not in head and "Python" not in head
