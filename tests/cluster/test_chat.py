"""Conversations over WebSocket with the real processes, beside phone calls; one with Moshi's own client."""

from __future__ import annotations

import asyncio
import os

import aiohttp
import pytest

from benchmarks.chat.upstream import conversation, remarks
from moshi_cluster.audio.ogg import OpusStreamReader, OpusStreamWriter
from moshi_cluster.audio.opus import OpusEncoder
from moshi_cluster.audio.pcm import decode_s16le
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.cluster.local_cluster import LocalCluster
from tests.cluster.callers import FRAME_S, Line, call, slots_used, speech, until

pytestmark = pytest.mark.cluster

HANDSHAKE, AUDIO = 0, 1
UPSTREAM_PYTHON = os.environ.get("MOSHI_UPSTREAM_PYTHON")


async def chat(url: str, frames: int) -> list[bytes]:
    """One conversation in real time; the reply's Opus packets."""
    packets, reader = [], OpusStreamReader()
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}api/chat") as socket:
        speaking = None
        async for message in socket:
            if message.data[0] == HANDSHAKE:
                speaking = asyncio.create_task(speak(socket, frames))
            elif message.data[0] == AUDIO:
                packets += reader.push(message.data[1:])
            if len(packets) == 2 * frames:
                break
        assert speaking is not None
        await speaking
    return packets


async def speak(socket: aiohttp.ClientWebSocketResponse, frames: int) -> None:
    encoder, writer = OpusEncoder(24_000, 20), OpusStreamWriter()
    due_s = asyncio.get_running_loop().time()
    for packet in speech(Line("s16le", 24_000), frames * FRAME_S):
        page = writer.write(encoder.encode(decode_s16le(packet)), 480, 24_000)
        await socket.send_bytes(bytes([AUDIO]) + page)
        due_s += 0.02
        await asyncio.sleep(due_s - asyncio.get_running_loop().time())


async def test_browsers_and_phones_talk_at_the_same_time(cluster: LocalCluster) -> None:
    frames = 25
    phone = call(cluster.address(), Line("mulaw", 8_000), frames * FRAME_S)
    reply, *replies = await asyncio.gather(phone, *(chat(cluster.http_url(), frames) for _ in range(3)))
    # On a busy machine frames are dropped or filled in; each way every one is accounted for, and the replies go on.
    assert reply.ended is not None
    counters = reply.ended.counters
    assert counters.frames_out == counters.frames_in + counters.frames_filled - counters.frames_dropped > 0
    assert [len(packets) for packets in replies] == [2 * frames] * 3
    await until(lambda: slots_used(cluster, 0))


@pytest.mark.skipif(UPSTREAM_PYTHON is None, reason="MOSHI_UPSTREAM_PYTHON names no Python with Moshi's own package")
async def test_moshis_own_client_holds_a_conversation(cluster: LocalCluster) -> None:
    summary = await asyncio.to_thread(conversation, str(UPSTREAM_PYTHON), cluster.http_url(), 6.0, DEMO_UTTERANCE)
    assert summary["blocks_played"] > 10  # of 75; how many is a matter of how busy this machine is
    assert remarks(summary) == set()
