"""What becomes of a conversation over /api/chat whose connection breaks at a moment that no cut line can choose."""

from __future__ import annotations

from typing import Any, cast

import aiohttp
import numpy as np
import pytest

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.clients.cli.talk.chat_connection import ChatConnection
from moshi_cluster.clients.cli.talk.connection import Ready
from moshi_cluster.clients.telephony.errors import CallLost


class BreakingSocket:
    """Shakes hands; then breaks while it answers a ping, which aiohttp does as it reads."""

    closed = False
    close_code = None

    def __init__(self) -> None:
        self._messages = [aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, b"\x00", None)]

    async def receive(self, timeout_s: float) -> aiohttp.WSMessage:
        if self._messages:
            return self._messages.pop()
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    async def send_bytes(self, data: bytes) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")


async def test_a_line_that_breaks_while_a_ping_is_answered_is_lost_like_any_other() -> None:
    connection = ChatConnection(cast(Any, BreakingSocket()))
    hearing = connection.hear()
    assert isinstance(await anext(hearing), Ready)
    with pytest.raises(CallLost):
        await anext(hearing)


async def test_a_line_that_breaks_once_somebody_hangs_up_is_the_end() -> None:
    connection = ChatConnection(cast(Any, BreakingSocket()))
    hearing = connection.hear()
    await anext(hearing)
    await connection.say(np.zeros(FRAME_SAMPLES, np.int16))  # and is not answered
    await connection.hang_up()
    assert [heard async for heard in hearing] == []
