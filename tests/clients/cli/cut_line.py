"""A line between a client and a gateway that the test may cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK_BYTES = 65_536


class CutLine:
    """Passes bytes on until it is cut; what connects after that is passed on again."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0
        self.address = ""

    def cut(self) -> None:
        """Ends every connection without a word."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection(*self._to)
        self._writers |= {writer, back}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_pass_on(reader, back), _pass_on(onward, writer))
        self._writers -= {writer, back}


@asynccontextmanager
async def cut_line(target: str) -> AsyncIterator[CutLine]:
    """A line to host:port, at an address of its own."""
    host, _, port = target.rpartition(":")
    line = CutLine(host, int(port))
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        line.cut()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()
