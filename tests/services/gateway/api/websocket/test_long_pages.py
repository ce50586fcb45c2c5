"""Pages of every length that Ogg allows: nothing of a voice in real time is lost, and the model hears the same."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.audio.ogg import OpusStreamReader
from moshi_cluster.services.gateway.api.websocket.query import parse_query
from moshi_cluster.services.gateway.calls.clock import CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import PendingEvents
from moshi_cluster.services.gateway.calls.ingress import Ingress
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.api.websocket.chatter import HTTP, chatting, said
from tests.services.gateway.api.websocket.pages import opus_packets, voice_pages
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import cluster

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

SETTINGS = GatewaySettings()
PAGES_MS = [20, 40, 100, 333, 500, 1000]
STEP_S = 0.05
PACKETS = opus_packets(18.0)
SHORTEST = [b"\xe0\xff\xfe"]
"""Silence of 2.5 ms: of the whole band, in one frame, without any bits for it (RFC 6716, sections 3.1 and 4.3)."""


def heard(page_ms: float, late_s: float = 0.0) -> tuple[CallCounters, list[np.ndarray]]:
    """What a model that takes 50 ms a step is given of a caller of /api/chat, in simulated time.

    late_s: from the handshake to their first sample.
    """
    spec = parse_query({}, SETTINGS).spec
    counters = CallCounters(GatewayMetrics(CollectorRegistry()))
    clock = CallerClock(0.0, spec.jitter_allowance_s, SETTINGS.backlog_frames, spec.first_frame_allowance_s)
    ingress = Ingress(spec.input_format, clock, counters, PendingEvents(0.0))
    reader, frames, free_s = OpusStreamReader(), [], 0.0
    for number, message in enumerate(voice_pages(PACKETS, page_ms), 1):
        now_s = late_s + number * page_ms / 1000
        while ingress.next_deadline_s <= now_s:
            ingress.fill(ingress.next_deadline_s)
        while len(ingress) and free_s <= now_s:
            frames.append(ingress.take().pcm)
            free_s += STEP_S
        free_s = max(free_s, now_s)
        together = 0
        for packet in reader.push(message):
            together += ingress.feed(packet, now_s, together)
    while len(ingress):
        frames.append(ingress.take().pcm)
    return counters, frames


@pytest.mark.parametrize("page_ms", PAGES_MS)
@pytest.mark.parametrize("late_s", [0.0, 0.3])
def test_the_model_hears_the_same_frames_whatever_the_pages(page_ms: float, late_s: float) -> None:
    """So it says the same for the same seed."""
    _, expected = heard(20)
    counters, frames = heard(page_ms, late_s)
    assert (counters.frames_filled, counters.frames_dropped) == (0, 0)
    assert counters.frames_in >= 224 - 1000 / 80
    assert all(np.array_equal(frame, other) for frame, other in zip(frames, expected, strict=False))


async def test_a_telephone_that_sends_the_shortest_packets_is_no_flood() -> None:
    """400 a second, here two seconds and a half of them at once."""
    async with cluster(max_messages_per_s=SETTINGS.max_messages_per_s) as all_of_it:
        caller = Caller(all_of_it.stub)
        opus = gateway_pb2.AudioFormat(encoding="ENCODING_OPUS", sample_rate_hz=48_000)
        await caller.start(input_format=opus, loopback=True)
        for packet in SHORTEST * 960:
            await caller.say(packet)
        assert (await caller.hang_up()).counters.frames_out == 30


async def test_pages_of_a_second_are_heard_whole_over_a_socket() -> None:
    """With the backlog of every gateway; the allowance is longer, for a machine that has other things to do."""
    patience = {"backlog_frames": SETTINGS.backlog_frames, "jitter_allowance_ms": 2000}
    async with cluster(**HTTP | patience) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        for message in voice_pages(opus_packets(4.0), 1000):
            await asyncio.sleep(1.0)
            await chatter.send(said(message))
        await chatter.answered(49)
        assert chatter.text == "".join(f" {number}" for number in range(0, 49, 2))
        assert all_of_it.sample("moshi_gateway_frames_total", kind="in") == 50
        assert all_of_it.sample("moshi_gateway_frames_total", kind="dropped") == 0


@pytest.mark.parametrize("packet_ms", [2.5, 10, 20, 40, 60])
async def test_packets_of_every_length_pass_one_on_each_page(packet_ms: float) -> None:
    settings = HTTP | {"max_messages_per_s": SETTINGS.max_messages_per_s}
    async with cluster(**settings) as all_of_it, chatting(all_of_it, "?loopback=true") as chatter:
        await chatter.ready()
        packets = SHORTEST * 960 if packet_ms == 2.5 else opus_packets(2.4, packet_ms=int(packet_ms))
        pages = voice_pages(packets, packet_ms, packet_ms=packet_ms)
        await chatter.send(*map(said, pages))
        await chatter.answered(30)


@pytest.mark.parametrize("page_ms", [20, 1000])
async def test_a_file_in_pages_at_full_speed_is_heard_whole(page_ms: float) -> None:
    """With the backlog of every gateway: what is early is not read yet."""
    patience = {"backlog_frames": SETTINGS.backlog_frames, "jitter_allowance_ms": 2000}
    async with cluster(**HTTP | patience) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        await chatter.send(*(said(page) for page in voice_pages(opus_packets(4.0), page_ms)))
        await chatter.answered(49)
        assert all_of_it.sample("moshi_gateway_frames_total", kind="in") >= 49
        assert all_of_it.sample("moshi_gateway_frames_total", kind="dropped") == 0
