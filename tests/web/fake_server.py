"""A small server of the page and of /api/chat for tests of the page: echoes the voice and misbehaves on request.

Only the standard library, so that the page's tests need no service. Speaks as much of WebSocket (RFC 6455) as a browser
needs: binary messages, close, no fragments, no extensions.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import mimetypes
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PAGE_FOLDER = Path(__file__).parents[2] / "clients" / "web"
ECHOED_TOGETHER = 4  # messages of 20 ms make the 80 ms after which a model would answer
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE = 2, 8
_PROTOCOL, _RESUME = "moshi-cluster", "moshi-cluster.resume."

mimetypes.add_type("text/javascript", ".js")


class Socket:
    """The server's side of one WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, query: dict[str, str]) -> None:
        self.query = query  # parameters of the address, and `resume` where the subprotocol brings a key
        self._reader = reader
        self._writer = writer

    async def messages(self) -> AsyncIterator[bytes]:
        """Binary messages until the client closes or vanishes."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self._read_frame()
                if opcode == _CLOSE:
                    return
                if opcode == _BINARY:
                    yield payload

    async def send(self, kind: int, payload: bytes = b"") -> None:
        await self._write_frame(_BINARY, bytes([kind]) + payload)

    async def send_metadata(self, **values: Any) -> None:
        await self.send(4, json.dumps(values).encode())

    async def close(self, code: int) -> None:
        await self._write_frame(_CLOSE, struct.pack(">H", code))

    def abort(self) -> None:
        """As a network that goes away."""
        self._writer.transport.abort()

    async def _read_frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8))
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(length)
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    async def _write_frame(self, opcode: int, payload: bytes) -> None:
        length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
        with contextlib.suppress(ConnectionError):
            self._writer.write(bytes([0x80 | opcode]) + length + payload)
            await self._writer.drain()


Behaviour = Callable[[Socket], Awaitable[None]]


async def echo(socket: Socket) -> None:
    """A good conversation: what is said comes back, with text and figures."""
    await socket.send_metadata(
        server="moshi-cluster", instance_name="fake", text_temperature=0.7, build_info={"git": "0"}
    )
    await socket.send(0)
    await answer(socket)


async def answer(socket: Socket, limit: int | None = None) -> None:
    """Echoes voice and pings, at most `limit` messages of voice; a word every 240 ms, figures every second."""
    waiting: list[bytes] = []
    count = 0
    async for message in socket.messages():
        if message[:1] == b"\x06":
            await socket.send(6)
        if message[:1] != b"\x01":
            continue
        count += 1
        waiting.append(message[1:])
        if len(waiting) == ECHOED_TOGETHER:
            await socket.send(1, b"".join(waiting))
            waiting.clear()
        if count % 12 == 0:
            await socket.send(2, f" word{count // 12}".encode())
        if count % 50 == 0:
            hops = {"edge_in": 0.4, "encode": 9.0, "lm": 22.0, "decode": 8.0, "edge_out": 0.6, "turnaround": 41.0}
            counters = {"frames_in": count // 4, "frames_filled": 0, "frames_dropped": 0, "frames_late": 1}
            await socket.send_metadata(latency_ms=hops, counters=counters)
        if limit is not None and count >= limit:
            return


class FakeServer:
    """Listens on a free port of this machine; lives in the thread that awaits `run`."""

    def __init__(self, behaviour: Behaviour, prefix: str = "", worker_hosts: Sequence[str] = ()) -> None:
        """prefix: everything is below it, as behind a reverse proxy. worker_hosts: what the page may call."""
        self.behaviour = behaviour
        self.worker_hosts = list(worker_hosts)
        self._prefix = prefix
        self.queries: list[dict[str, str]] = []  # of every conversation asked for
        self.port = 0
        self.listening = threading.Event()
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._prefix}/"

    async def run(self) -> None:
        """Serves until `stop`."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        await self._ended.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def call(self, action: Callable[[], None]) -> None:
        """Does something in the server's thread; from any other one."""
        self._loop.call_soon_threadsafe(action)

    def stop(self) -> None:
        """From any other thread."""
        self.call(self._ended.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
        ):  # cancelled by run
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            address = urlsplit(head[0].split(" ")[1])
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in headers.items()}
            path = address.path.removeprefix(self._prefix) if address.path.startswith(self._prefix) else "/nowhere"
            if path == "/api/chat":
                offered = headers.get("sec-websocket-protocol", "").split(", ")
                writer.write(_upgrade(headers["sec-websocket-key"], _PROTOCOL in offered))
                asked = dict(parse_qsl(address.query))
                assert "resume" not in asked, "an address is logged"
                asked |= [("resume", name.removeprefix(_RESUME)) for name in offered if name.startswith(_RESUME)]
                socket = Socket(reader, writer, asked)
                self.queries.append(socket.query)
                await self.behaviour(socket)
            else:
                page_settings = json.dumps({"worker_hosts": self.worker_hosts}).encode()
                writer.write(_ok(page_settings, "application/json") if path == "/settings.json" else _file(path))
                await writer.drain()
        writer.close()


@contextmanager
def serving(behaviour: Behaviour, **options: Any) -> Iterator[FakeServer]:
    """A running fake server. In a thread of its own: playwright keeps a loop running in the caller's."""
    server = FakeServer(behaviour, **options)
    thread = threading.Thread(target=lambda: asyncio.run(server.run()), name="fake server")
    thread.start()
    server.listening.wait()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def _upgrade(key: str, with_protocol: bool) -> bytes:
    accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        *([f"Sec-WebSocket-Protocol: {_PROTOCOL}"] if with_protocol else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _file(path: str) -> bytes:
    file = PAGE_FOLDER / (path.lstrip("/") or "index.html")
    if not file.is_file() or not file.resolve().is_relative_to(PAGE_FOLDER):
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    body = file.read_bytes()
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return _ok(body, kind)


def _ok(body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


if __name__ == "__main__":
    with serving(echo) as running:
        print(f"The page with an echo in place of a model: {running.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
