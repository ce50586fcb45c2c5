"""Link of a TCP stream, on the event loop that the services run on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from moshi_cluster.services.gateway.api.telephony.links import StreamLink

uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")


def test_what_is_sent_to_a_far_end_that_is_gone_is_lost_without_an_error() -> None:
    async def work() -> None:
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        link = StreamLink(reader, writer)
        far.close()
        assert await link.receive() is None
        assert link.said_goodbye
        for _ in range(5):  # the first finds out, the others know
            await link.send(bytes(100_000))
            await asyncio.sleep(0.01)
        await link.close(None, False, (b"bye",))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
