"""Of what a client sends: one stream is heard, other formats are told, who never speaks does not keep their slot."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from benchmarks.abuse.frames import page
from tests.services.gateway.api.websocket.chatter import ERROR, HTTP, LOOPBACK, chatting, said, voice
from tests.services.gateway.api.websocket.pages import headers, opus_packets, voice_pages
from tests.services.gateway.cluster import cluster

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

LOW_HZ, HIGH_HZ = 440, 1760


def strongest_hz(sound: np.ndarray) -> int:
    second = sound[-48_000:]
    return int(np.abs(np.fft.rfft(second * np.hanning(second.size))).argmax())


async def test_of_two_voices_in_the_same_pages_the_first_is_heard_and_the_client_is_told() -> None:
    first = voice_pages(opus_packets(2.0, LOW_HZ), 20, serial=7)
    second = voice_pages(opus_packets(2.0, HIGH_HZ), 20, serial=8)
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        for pages in zip(first, second, strict=True):
            await chatter.send(said(b"".join(pages)))
        await chatter.answered(25)
        assert strongest_hz(chatter.sound) == pytest.approx(LOW_HZ, abs=1)
        await chatter.pong()
        assert len(chatter.packets) == 50, "not a frame of the other"
        errors = [payload for kind, payload in chatter.heard if kind == ERROR]
        assert errors == [b"only the first of several streams in the same Ogg pages is heard"]
        assert all_of_it.sample("moshi_gateway_unheard_total", reason="stream") == 1


SECRET = b"what was said in private"
FORMATS = {
    "WebM or Matroska": [said(b"\x1a\x45\xdf\xa3" + SECRET)],
    "WAV": [said(b"RIFF\x24\0\0\0WAVEfmt " + SECRET)],
    "WAV without its type": [b"RIFF\x24\0\0\0WAVEfmt " + SECRET],
    "Ogg pages without that first byte": list(voice(3)),
    "Ogg pages without Opus": [said(headers(5, b"Vrbs") + page([SECRET * 9] * 3, 5)) for _ in range(10)],
    "bytes of no container": [said(SECRET * 100) for _ in range(10)],
    "JSON": [b'{"payload": "' + SECRET * 100 for _ in range(10)],
}


@pytest.mark.parametrize(("name", "messages"), FORMATS.items(), ids=FORMATS)
async def test_another_format_is_named_to_the_client_counted_and_logged_without_its_content(
    name: str, messages: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await chatter.send(*messages)
        told = (await chatter.until(ERROR)).decode()
        assert told.startswith("nothing of this can be heard: expected Ogg pages with Opus")
        assert f"got {name.partition(' without its type')[0]}" in told
        await chatter.pong()
        assert [kind for kind, _ in chatter.heard].count(ERROR) == 1
        assert all_of_it.sample("moshi_gateway_unheard_total", reason="format") == 1
    (line,) = [record for record in caplog.records if "is not heard" in record.getMessage()]
    assert line.levelno == logging.WARNING
    assert SECRET.decode() not in caplog.text


async def test_json_in_text_messages_is_named_too() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        for _ in range(50):
            await chatter.socket.send_str('{"event": "media", "media": {"payload": "' + "A" * 200 + '"}}')
        assert (await chatter.until(ERROR)).endswith(b"got JSON")


async def test_the_call_goes_on_for_a_client_that_finds_the_right_format() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await chatter.send(*FORMATS["WAV"])
        await chatter.until(ERROR)
        await chatter.say(3)
        await chatter.answered(3)


@pytest.mark.parametrize("messages", [[], [b"\6"] * 3, FORMATS["WAV"]], ids=["nothing", "pings", "another format"])
async def test_who_never_speaks_does_not_keep_their_slot(messages: list[bytes]) -> None:
    async with cluster(first_voice_timeout_s=0.3, **HTTP) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        await chatter.send(*messages)
        code, error = await chatter.end()
        assert code == 1000
        assert error.endswith("no voice came")
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1


async def test_who_has_spoken_may_be_silent_for_longer() -> None:
    async with cluster(first_voice_timeout_s=1.5, idle_timeout_s=3.0, **HTTP) as all_of_it, chatting(all_of_it) as one:
        await one.ready()
        await one.say(1)
        assert await one.end() == (1000, "the caller sent nothing")
