"""Server of Prometheus' scrapes: HTTP with a bound on everything, since whoever reaches the port may be anybody."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import socket
from collections.abc import Sequence
from http.client import HTTPException, parse_headers
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, make_wsgi_app

_MOST_CONNECTIONS = 32
_MOST_REQUEST_BYTES = 8 * 1024
_TIMEOUT_S = 5.0
_PAUSE_S = 0.05  # between two scrapes: the interpreter that makes the text is the one that carries calls
_RETRY_S = 0.1
_NOTHING = "Content-Length: 0\r\nConnection: close\r\n\r\n"
_BAD_REQUEST = f"HTTP/1.1 400 Bad Request\r\n{_NOTHING}".encode()
_BAD_METHOD = f"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n{_NOTHING}".encode()

_log = logging.getLogger(__name__)


class ScrapeServer:
    """Answers one request a connection, one after the other.

    A connection ends when its request has not come or its answer has not gone in time; for one more than there may be,
    the oldest is closed, so that whoever comes now is heard.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        most_connections: int = _MOST_CONNECTIONS,
        timeout_s: float = _TIMEOUT_S,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._application = make_wsgi_app(registry)
        self._most_connections = most_connections
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._connections: dict[socket.socket, asyncio.Task[None]] = {}  # oldest first
        self._turn = asyncio.Lock()

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Serves until cancelled, and closes the listeners."""
        with contextlib.ExitStack() as held:
            async with asyncio.TaskGroup() as tasks:
                for listener in listeners:
                    held.enter_context(listener).setblocking(False)
                    tasks.create_task(self._accept(listener, tasks))

    async def _accept(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:  # no descriptor is left
                self._close_oldest()
                await asyncio.sleep(_RETRY_S)
                continue
            if len(self._connections) >= self._most_connections:
                self._close_oldest()
            connection.setblocking(False)
            self._connections[connection] = tasks.create_task(self._serve(connection))

    def _close_oldest(self) -> None:
        if self._connections:
            self._connections.pop(next(iter(self._connections))).cancel()

    async def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    await self._answer(connection)
        except Exception:
            _log.exception("a scrape failed")
        finally:
            self._connections.pop(connection, None)

    async def _answer(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        asked = _environment(await _read_head(connection))
        async with self._turn:
            answer = self._response(asked)
            await asyncio.sleep(self._pause_s)
        await loop.sock_sendall(connection, answer)

    def _response(self, asked: dict[str, Any] | None) -> bytes:
        """Nothing of the request is in it."""
        if asked is None:
            return _BAD_REQUEST
        if asked["REQUEST_METHOD"] != "GET":
            return _BAD_METHOD
        lines: list[str] = []

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            lines.extend([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)])

        body = b"".join(self._application(asked, start_response))
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""])
        return head.encode("latin-1") + body


async def _read_head(connection: socket.socket) -> bytes:
    """A request as far as the line that ends its headers, at most so long."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MOST_REQUEST_BYTES:
        received = await asyncio.get_running_loop().sock_recv(connection, _MOST_REQUEST_BYTES)
        if not received:
            break
        head += received
    return head


def _environment(head: bytes) -> dict[str, Any] | None:
    """What a WSGI application is asked by a request's head; None for what is none."""
    line, _, rest = head.partition(b"\r\n")
    try:
        method, target, _ = line.decode("ascii").split(" ")
        headers = parse_headers(io.BytesIO(rest))
        url = urlsplit(target)
    except (ValueError, HTTPException):
        return None
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": url.path,
        "QUERY_STRING": url.query,
        "HTTP_ACCEPT": headers.get("Accept", ""),
        "HTTP_ACCEPT_ENCODING": headers.get("Accept-Encoding", ""),
    }
