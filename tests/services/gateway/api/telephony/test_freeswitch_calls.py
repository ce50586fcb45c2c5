"""Calls of FreeSWITCH's modules through a real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from tests.services.gateway.api.telephony.simulators.freeswitch import (
    JambonzPhone,
    ModAudioForkPhone,
    ModAudioStreamPhone,
)
from tests.services.gateway.api.telephony.simulators.phone import calling
from tests.services.gateway.api.telephony.simulators.websocket_phone import WebSocketPhone
from tests.services.gateway.api.telephony.test_calls import ended, gateway_of, received, tone
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import cluster

WIRES = ("jambonz", "mod_audio_fork", "mod_audio_stream")


@pytest.mark.parametrize(
    "make_phone",
    [
        JambonzPhone,
        lambda: JambonzPhone(rate_hz=24_000),
        lambda: ModAudioForkPhone(rate_hz=16_000),
        ModAudioStreamPhone,
        lambda: ModAudioStreamPhone(rate_hz=16_000, reply="binary", has_metadata=False),
    ],
    ids=["jambonz", "jambonz-24k", "fork-16k", "stream", "stream-16k-binary"],
)
async def test_what_is_said_comes_back(make_phone: Callable[[], WebSocketPhone]) -> None:
    phone = make_phone()
    async with cluster(**HTTP, telephony=WIRES) as all_of_it:
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            for packet in tone(phone, 40):
                await phone.say(packet)
            await phone.press("5")
            await phone.until_heard(36 * phone.packet_samples)
            await phone.hang_up()
        await ended(all_of_it, phone.wire)
        await received(all_of_it, phone.wire, 40)
        assert abs(phone.sound).max() > 0.25


async def test_a_new_module_tells_what_it_has_played_and_an_old_one_is_not_waited_for() -> None:
    new, old = JambonzPhone(), JambonzPhone()
    old.keeps_marks = True
    async with cluster(**HTTP, telephony=WIRES, reply_backlog_ms=400) as all_of_it:
        for phone in (new, old):
            async with calling(phone, gateway_of(all_of_it), loopback="true"):
                for packet in tone(phone, 60):
                    await phone.say(packet)
                await phone.until_heard(56 * phone.packet_samples)
                assert phone.marks


async def test_metadata_mean_what_they_say_and_a_channel_of_two_voices_is_refused() -> None:
    phone = JambonzPhone()
    async with cluster(**HTTP, telephony=WIRES) as all_of_it:
        async with calling(phone, gateway_of(all_of_it), mixType="stereo"):
            await phone.until_over()
            assert phone.disconnects == 1
            assert phone.socket.close_code == 1008
        await ended(all_of_it, "jambonz", "INVALID_ARGUMENT")


async def test_basic_credentials_carry_the_token(tmp_path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("right\n")
    async with cluster(**HTTP, telephony=WIRES, token_file=str(tokens)) as all_of_it:
        for password, outcome in (("wrong", "UNAUTHENTICATED"), ("right", "ok")):
            phone = JambonzPhone()
            phone.headers = {"Authorization": aiohttp.encode_basic_auth("jambonz", password)}
            async with calling(phone, gateway_of(all_of_it), loopback="true"):
                if outcome == "ok":
                    await phone.say(tone(phone, 1)[0])
                    await phone.hang_up()
                else:
                    await phone.until_over()
            await ended(all_of_it, "jambonz", outcome)


async def test_a_connection_that_breaks_is_no_call_that_was_hung_up() -> None:
    phone = ModAudioForkPhone()
    async with cluster(**HTTP, telephony=WIRES) as all_of_it:
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            await phone.say(tone(phone, 1)[0])
            await phone.until_heard(0)
            assert phone.socket._response.connection is not None
            phone.socket._response.connection.transport.abort()
            await asyncio.sleep(0)
        await ended(all_of_it, "mod_audio_fork", "CANCELLED")
