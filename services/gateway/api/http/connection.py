"""HTTP connection: aiohttp's own, read at a bounded pace, answered in time, its errors without what caused them."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from moshi_cluster.services.gateway.admission.loop_budget import ParsingBudget
from moshi_cluster.services.gateway.admission.rate_limits import Pace
from moshi_cluster.services.gateway.admission.turns import Turn
from moshi_cluster.services.gateway.api.http.held_transport import HeldTransport
from moshi_cluster.services.gateway.metrics import GatewayMetrics

SERVER_NAME = "moshi-cluster"
"""What the header `Server` says: no version of anything."""

_SLICE_BYTES = 1024  # parsed at once: some 170 empty WebSocket frames, less than half a millisecond
_BYTES_PER_S, _BYTES_AT_ONCE = 128 * 1024, 512 * 1024  # the largest Opus there is has 64 kB a second
_KERNEL_BUFFER_BYTES = 64 * 1024  # of what came and was not read, or megabytes would wait for a slow pace
_RESPONSE_TIMEOUT_S = 60.0
_LAST_BYTES_TIMEOUT_S = 5.0
_VOUCH_INTERVAL_S = 5.0  # shorter than any heartbeat

_log = logging.getLogger(__name__)


class HttpConnection(RequestHandler):
    """One connection: requests, or a WebSocket after the first one."""

    __slots__ = (
        "_bytes_pace",
        "_end",
        "_held",
        "_is_lost",
        "_leave",
        "_parsing",
        "_metrics",
        "_next_slice",
        "_on_heard",
        "_response_timeout_s",
        "_unread",
        "_vouch_interval_s",
        "_vouching",
        "address",
        "admit",
    )

    def __init__(
        self,
        manager: web.Server,
        parsing: ParsingBudget,
        metrics: GatewayMetrics,
        address: str,
        request_timeout_s: float,
        leave: Callable[[], None],
        response_timeout_s: float = _RESPONSE_TIMEOUT_S,
        vouch_interval_s: float = _VOUCH_INTERVAL_S,
    ) -> None:
        """parsing: pays for it. address: the client's, as far as the connection tells. request_timeout_s: for the first
        request, and for each next one. leave: called once it is over. response_timeout_s: for a client to read a
        response. vouch_interval_s: shorter than the heartbeat of any WebSocket.
        """
        loop = asyncio.get_running_loop()
        super().__init__(manager, loop=loop, keepalive_timeout=request_timeout_s, access_log=cast(Any, None))
        now_s = time.monotonic()
        self.address = address
        self.admit: Callable[[bytes], bool] = lambda data: True
        """Asked, on a WebSocket, whether bytes may be parsed."""
        self._metrics = metrics
        self._leave = leave
        self._response_timeout_s = response_timeout_s
        self._vouch_interval_s = vouch_interval_s
        self._bytes_pace = Pace(_BYTES_PER_S, _BYTES_AT_ONCE, now_s)
        self._parsing = parsing
        self._held: HeldTransport | None = None
        self._unread = bytearray()  # bounded: while there is any, the transport does not read
        self._next_slice: asyncio.Handle | Turn | None = None
        self._end: asyncio.Handle | None = None
        self._is_lost = False
        self._on_heard: Callable[[], None] | None = None
        self._vouching: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the first request."""
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER_BYTES)
        self._held = HeldTransport(cast(asyncio.Transport, transport), self._read_on)
        super().connection_made(cast(asyncio.Transport, self._held))

    async def start(self) -> None:
        """Serves requests one after the other; afterwards little time is left for what has not been sent."""
        try:
            await super().start()
        finally:
            if self._held is not None and not self._is_lost:
                self._end = asyncio.get_running_loop().call_later(_LAST_BYTES_TIMEOUT_S, self._held.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Ends whatever was going on."""
        self._is_lost = True
        for timer in (self._next_slice, self._end, self._vouching):
            if timer is not None:
                timer.cancel()
        self._unread.clear()
        self._leave()
        super().connection_lost(exc)

    # --- reading

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """From now on it is a WebSocket, read by this parser."""
        self._on_heard = data_received_cb
        super().set_parser(cast(Any, _AdmittingParser(parser, self.admit)), data_received_cb)

    def data_received(self, data: bytes) -> None:
        """Hands on a slice at a time, so that other connections get their turn in between, and at a bounded pace."""
        if not data:  # aiohttp looks at what it has left
            super().data_received(data)
            return
        self._unread += data
        if self._next_slice is None:
            self._read_slice()

    def _read_on(self) -> None:
        if self._unread and self._next_slice is None:
            self._next_slice = self._parsing.turns.soon(self._read_slice)

    def _read_slice(self) -> None:
        self._next_slice = None
        held = self._held
        if held is None or self.transport is None or (self._unread and not held.is_wanted):
            return
        delay_s = 0.0
        if self._unread:
            piece = bytes(self._unread[:_SLICE_BYTES])
            del self._unread[:_SLICE_BYTES]
            delay_s = self._parse(piece)
            self._vouch()
        held.hold(bool(self._unread or delay_s))
        if self._unread or delay_s:
            self._next_slice = asyncio.get_running_loop().call_later(delay_s, self._in_turn)

    def _vouch(self) -> None:
        """While a call takes nothing more, the client is not silent but unheard: no heartbeat may count it as gone."""
        if self._vouching is not None:
            self._vouching.cancel()
        if self._held is not None and not self._held.is_wanted and self._on_heard is not None and not self._is_lost:
            self._on_heard()
            self._vouching = asyncio.get_running_loop().call_later(self._vouch_interval_s, self._vouch)

    def _in_turn(self) -> None:
        self._next_slice = self._parsing.turns.soon(self._read_slice)

    def _parse(self, data: bytes) -> float:
        """Returns how long to wait before any more is parsed."""
        began_s = time.thread_time()
        super().data_received(data)
        now_s = time.monotonic()
        return max(
            self._bytes_pace.delay_s(now_s, len(data)),
            self._parsing.delay_s(now_s, time.thread_time() - began_s),
        )

    # --- answering

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends the response; a client that takes too long to read it is left."""
        try:
            async with asyncio.timeout(self._response_timeout_s):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            return resp, True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """An answer that neither repeats nor logs any of the request: it may hold a token."""
        if status < 500:
            self._metrics.bad_request()
            _log.info("bad request")
        else:
            self.log_exception("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun")
        response = web.Response(
            status=status,
            text="the server failed\n" if status >= 500 else "bad request\n",
            headers={"Server": SERVER_NAME},
        )
        response.force_close()
        return response

    def log_exception(self, *arguments: Any, **options: Any) -> None:
        """For faults of our own; a connection that is lost in the middle is none."""
        _log.error(*arguments, **options)


class _AdmittingParser:
    """A parser that gets what is admitted."""

    def __init__(self, parser: Any, admit: Callable[[bytes], bool]) -> None:
        self._parser = parser
        self._admit = admit

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        found: tuple[bool, bytes] = self._parser.feed_data(data) if self._admit(data) else (False, b"")
        return found

    def feed_eof(self) -> None:
        self._parser.feed_eof()
