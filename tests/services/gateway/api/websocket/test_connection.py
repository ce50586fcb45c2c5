"""/api/chat byte by byte: what it says, and what it bears."""

from __future__ import annotations

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.services.gateway.api.websocket.chatter import (
    AUDIO,
    CONTROL,
    HANDSHAKE,
    HTTP,
    LOOPBACK,
    METADATA,
    STATS,
    TEXT,
    TONE_HZ,
    chatting,
    said,
    voice,
)
from tests.services.gateway.cluster import EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


# --- what it says


async def test_every_frame_is_answered_with_two_packets_and_its_text() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        await chatter.say(5)
        await chatter.answered(5)
        assert chatter.text == " 0 2 4"
        await chatter.socket.close()
        await all_of_it.until_free()
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="ok") == 1)
        assert all_of_it.sample("moshi_gateway_frames_total", kind="out") == 5


async def test_what_is_said_is_heard() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await chatter.say(25)
        await chatter.answered(25)
        last_second = chatter.sound[-48_000:]
        assert chatter.sound.size == 25 * 3840
        assert np.abs(np.fft.rfft(last_second * np.hanning(48_000))).argmax() == pytest.approx(TONE_HZ, abs=1)


async def test_the_first_audio_message_is_headers_and_a_page_as_moshis_own_servers_send_it() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await chatter.say(1)
        first, second = await chatter.until(AUDIO), await chatter.until(AUDIO)
        assert [first.count(b"OggS"), second.count(b"OggS")] == [3, 1]
        version_1_mono, rate_hz = b"\x01\x01", (24_000).to_bytes(4, "little")
        assert first[28:47] == b"OpusHead" + version_1_mono + (312).to_bytes(2, "little") + rate_hz + bytes(3)
        assert int.from_bytes(second[6:14], "little") == 2 * 1920  # its end at 48 kHz


async def test_metadata_comes_first_then_what_is_in_use_then_the_handshake() -> None:
    lm = EchoLm()
    query = "?stats=true&text_temperature=0.5&audio_topk=12&text_seed=3&audio_seed=4&pad_mult=-1.5"
    query += "&repetition_penalty=1.25&repetition_penalty_context=32&email=ignored&image_url=x"
    async with cluster(lms=[lm], instance_name="here", **HTTP) as all_of_it, chatting(all_of_it, query) as chatter:
        await chatter.ready()
        assert [kind for kind, _ in chatter.heard] == [METADATA, METADATA, HANDSHAKE]
        assert json.loads(chatter.heard[0][1]) == {"server": "moshi-cluster"}
        metadata = chatter.metadata
        in_use = {
            "text_temperature": 0.5, "text_topk": 25, "audio_temperature": 0.8, "audio_topk": 12, "pad_mult": -1.5,
            "repetition_penalty": 1.25, "repetition_penalty_context": 32, "text_seed": 3, "audio_seed": 4,
        }  # fmt: skip
        assert metadata.items() >= in_use.items()
        assert metadata["instance_name"] == "here"
        assert metadata["lm_model_file"] == metadata["mimi_model_file"] == "0123456789abcdef"
        assert len(bytes.fromhex(metadata["session_id"])) == 16
        # Moshi's own web page shows nothing of all this unless it finds ten texts here.
        assert len(metadata["build_info"]) == 10
        assert all(isinstance(text, str) for text in metadata["build_info"].values())
        (spec,) = lm.runner.specs.values()
        assert (spec.sampling.text_temperature, spec.sampling.audio_top_k, spec.sampling.text_top_k) == (0.5, 12, 25)
        assert (spec.sampling.padding_multiplier, spec.sampling.repetition_penalty) == (-1.5, 1.25)
        assert spec.sampling.repetition_penalty_context == 32


async def test_a_top_k_that_upstreams_clients_may_ask_for_is_lowered_and_told() -> None:
    lm = EchoLm()
    query = "?text_topk=2048&audio_topk=501"
    async with cluster(lms=[lm], **HTTP) as all_of_it, chatting(all_of_it, query) as chatter:
        await chatter.ready()
        assert (chatter.metadata["text_topk"], chatter.metadata["audio_topk"]) == (500, 500)
        (spec,) = lm.runner.specs.values()
        assert (spec.sampling.text_top_k, spec.sampling.audio_top_k) == (500, 500)


async def test_who_asks_gets_figures_and_all_others_one_message_of_metadata_as_from_moshis_own_servers() -> None:
    async with cluster(lms=[EchoLm(2)], **HTTP) as all_of_it:
        own_page = {"Origin": f"http://127.0.0.1:{all_of_it.service.http_port}"}
        async with (
            chatting(all_of_it, STATS) as asking,
            chatting(all_of_it, headers=own_page) as page,
            chatting(all_of_it) as waiting,
        ):
            for chatter in (asking, page):
                await chatter.ready()
                await chatter.say(3)
                await chatter.answered(3)
            latency_ms = await asking.until(METADATA, "latency_ms")
            assert set(latency_ms) == {"edge_in", "encode", "lm", "decode", "edge_out", "turnaround"}
            counters = asking.metadata["counters"]
            assert counters["frames_in"] == 3 <= counters["frames_out"]  # who is late has silence filled in
            await page.pong()
            await page.socket.close()
            await waiting.ready()
            await waiting.pong()
            for chatter in (page, waiting):
                assert [kind for kind, _ in chatter.heard].count(METADATA) == 1
                assert chatter.heard[1] == (HANDSHAKE, b"")


async def test_the_same_seeds_are_the_same_conversation() -> None:
    lm = EchoLm()
    seeds = []
    async with cluster(lms=[lm], **HTTP) as all_of_it:
        for query in ("?text_seed=1&audio_seed=2", "?text_seed=1&audio_seed=2", "?text_seed=2&audio_seed=1", "", ""):
            async with chatting(all_of_it, query) as chatter:
                await chatter.ready()
                (spec,) = lm.runner.specs.values()
                seeds.append(spec.sampling.seed)
            await eventually(lambda: not lm.runner.specs)
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 4


# --- what it bears


def noisy() -> list[bytes]:
    """Five frames of voice with everything between them that must not matter."""
    before = [b"", bytes([0]), bytes(9), bytes([CONTROL, 0]), bytes([CONTROL])]
    after = [bytes([TEXT]) + b"hi", bytes([METADATA]), bytes([8, 1, 2]), bytes([255]), said(b""), said(b"no ogg")]
    return [message for page in voice(5) for message in (*before, said(page), *after)]


def split(size: int) -> list[bytes]:
    stream = b"".join(voice(5))
    return [said(stream[at : at + size]) for at in range(0, len(stream), size)]


def with_headers_again() -> list[bytes]:
    pages = list(voice(5))
    headers = pages[0][: pages[0].rindex(b"OggS")]
    return [said(headers + page) for page in pages]


CLIENTS = {
    "a page a message": [said(page) for page in voice(5)],
    "20 ms a message": [said(page) for page in voice(5, packet_ms=20)],
    "two pages a message": [said(a + b) for a, b in zip(*[voice(5)] * 2, strict=True)],
    "everything at once": [said(b"".join(voice(5)))],
    "pages split anywhere": split(37),
    "a byte a message": split(1),
    "headers sent again": with_headers_again(),
    "both handshakes, unknown types and garbage": noisy(),
}


@pytest.mark.parametrize("messages", CLIENTS.values(), ids=CLIENTS)
async def test_what_clients_do_is_borne(messages: list[bytes]) -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await chatter.send(*messages)
        await chatter.answered(5)
        await chatter.pong()
        assert len(chatter.packets) == 10


async def test_text_messages_are_ignored() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        for page in voice(2):
            await chatter.socket.send_str("hello?")
            await chatter.send(said(page))
        await chatter.answered(2)


async def test_packets_that_are_no_opus_are_skipped() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        pages = list(voice(3))
        headers, page = pages[0][: pages[0].rindex(b"OggS")], pages[1]
        # Type 3 with a count of 0 frames: no decoder takes it.
        bad = headers.replace(b"OpusHead", b"\xff\x00pusHe")
        await chatter.send(*map(said, (bad, pages[0], page, bad, *pages[2:])))
        await chatter.answered(3)


async def test_a_ping_is_answered_before_the_handshake_too() -> None:
    async with cluster(lms=[EchoLm(slots=1)], **HTTP) as all_of_it, chatting(all_of_it) as talking:
        await talking.ready()
        async with chatting(all_of_it, STATS) as waiting:
            await waiting.until(METADATA, "queue")
            await waiting.pong()
            await talking.pong()


async def test_voice_before_the_handshake_is_dropped_and_its_headers_are_not_missed() -> None:
    async with cluster(lms=[EchoLm(slots=1)], **HTTP) as all_of_it, chatting(all_of_it) as talking:
        await talking.ready()
        async with chatting(all_of_it, STATS) as waiting:
            await waiting.until(METADATA, "queue")
            pages = list(voice(8))
            await waiting.send(*map(said, pages[:6]))
            await waiting.pong()
            await talking.socket.close()
            await waiting.ready()
            await waiting.send(*map(said, pages[6:]))
            await waiting.answered(5)
            await waiting.pong()
            assert len(waiting.packets) == 10


@hypothesis.settings(max_examples=25)
@hypothesis.given(messages=st.lists(st.binary(max_size=60), max_size=6))
async def test_any_bytes_end_nothing(messages: list[bytes]) -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await chatter.send(*messages, said(b"." * 70_000))
        await chatter.say(2)
        await chatter.answered(2)
