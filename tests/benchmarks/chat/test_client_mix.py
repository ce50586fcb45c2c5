"""A client mix against a gateway in this process, in real time, with more clients than slots."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

pytest.importorskip("av", reason="the extra `talk` is not installed")

from benchmarks.chat.client_mix import Client, gather, protocol_clients
from benchmarks.chat.client_trace import ClientTrace, faults
from benchmarks.chat.page_client import PageClient
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

FRAMES, PATIENCE_S = 50, 60.0  # long enough that the first still talks when the last comes


async def in_turn(clients: Sequence[Client]) -> list[ClientTrace]:
    """Everybody comes once the one before has been answered, and stays until done."""
    start_s, running = asyncio.get_running_loop().time(), []
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            running.append(tasks.create_task(client.run(start_s)))
            await eventually(partial(is_answered, client.trace))
    return [task.result() for task in running]


def is_answered(trace: ClientTrace) -> bool:
    return trace.ready_s is not None or bool(trace.queue_positions) or trace.failure != ""


async def test_everybody_gets_every_frame_and_those_without_a_slot_wait_in_order() -> None:
    slots = {"codecs": [EchoCodec(slots=3)], "lms": [EchoLm(slots=3)]}
    async with cluster(**slots, **HTTP) as running:
        clients = protocol_clients(running.target, running.url, DEMO_UTTERANCE, 4, 2, FRAMES, PATIENCE_S)
        traces = await in_turn(clients)
        await running.until_free()
    assert faults(traces) == []
    assert [trace.first_position for trace in traces] == [0, 0, 0, 1, 2, 3]
    assert all(trace.heard_frames >= FRAMES and trace.text for trace in traces)


async def test_a_page_that_is_turned_away_says_so() -> None:
    async with cluster(max_sessions=1, queue_clients=0, **HTTP) as running:
        clients = protocol_clients(running.target, running.url, DEMO_UTTERANCE, 2, 0, FRAMES, PATIENCE_S)
        traces = await gather(clients)
    assert traces[0].failure == ""
    assert "page 1: every slot is in use" in faults(traces)[0]


async def test_nobody_there_is_a_fault_not_a_crash() -> None:
    client = PageClient("page", "http://127.0.0.1:1/", [], PATIENCE_S)
    trace = await client.run(asyncio.get_running_loop().time())
    assert "Cannot connect" in trace.failure
