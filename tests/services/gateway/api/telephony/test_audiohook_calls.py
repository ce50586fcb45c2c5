"""Sessions of Genesys AudioHook through a real gateway."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.services.gateway.api.telephony.simulators.audiohook import (
    API_KEY,
    BOTH,
    EXTERNAL,
    NO_ID,
    ORGANIZATION,
    SECRET,
    GenesysPhone,
)
from tests.services.gateway.api.telephony.simulators.phone import calling
from tests.services.gateway.api.telephony.test_calls import ended, gateway_of, received, tone
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import cluster

GENESYS = {**HTTP, "telephony": ("genesys",)}


async def test_what_is_said_comes_back_in_messages_of_1600_bytes() -> None:
    phone = GenesysPhone()
    async with cluster(**GENESYS) as all_of_it:
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            for packet in tone(phone, 10):
                await phone.say(packet)
            await phone.tell("ping", rtt="PT0.05S")
            await phone.tell("update", language="de-DE")
            await phone.press("5")
            await phone.until_heard(9 * 1600)
            await phone.hang_up()
            await phone.until(lambda: phone.is_closed)
        await ended(all_of_it, "genesys")
        assert (phone.pongs, phone.updates, phone.disconnects) == (1, 1, [])
        assert {heard.samples.size for heard in phone.heard} == {1600}
        await received(all_of_it, "genesys", 10)
        assert all_of_it.sample("moshi_gateway_wire_packets_total", transport="genesys", kind="lost") == 0


async def test_of_caller_and_agent_the_caller_is_heard() -> None:
    phone = GenesysPhone(media=[BOTH])
    async with cluster(**GENESYS) as all_of_it, calling(phone, gateway_of(all_of_it), loopback="true"):
        for packet in tone(phone, 10):
            await phone.say_beside(packet, 0 * packet)
        await phone.until_heard(9 * 1600)
        assert abs(phone.sound[8_000:]).max() == pytest.approx(0.3, abs=0.02)


async def test_a_probe_is_answered_and_takes_no_slot() -> None:
    phone = GenesysPhone()
    phone.conversation = NO_ID
    async with cluster(**GENESYS) as all_of_it, calling(phone, gateway_of(all_of_it)):
        assert not any(worker.live_sessions for worker in all_of_it.workers)
        await phone.hang_up()
        await phone.until_over()
        assert (phone.is_closed, phone.socket.close_code) == (True, 1000)


async def test_a_request_must_be_signed_where_keys_are_known(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{API_KEY} {SECRET} {ORGANIZATION}\n")
    signed, unsigned, forged = GenesysPhone(), GenesysPhone(), GenesysPhone()
    signed.secret, forged.secret = SECRET, "AAAA"
    async with cluster(**GENESYS, genesys_key_file=str(keys)) as all_of_it:
        for phone in (unsigned, forged):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await phone.dial(gateway_of(all_of_it), {})
            assert refused.value.status == 401
        async with calling(signed, gateway_of(all_of_it), loopback="true"):
            assert signed.is_open


async def test_what_is_wrong_is_told_and_the_session_closed_by_agreement() -> None:
    phone = GenesysPhone(media=[{**EXTERNAL, "channels": ["internal"]}])
    async with cluster(**GENESYS) as all_of_it:
        async with calling(phone, gateway_of(all_of_it)):
            await phone.until_over()
        (told,) = phone.disconnects
        assert told["reason"] == "error"
        assert told["info"].startswith("parameters.media: must offer external")
        assert phone.is_closed
        await ended(all_of_it, "genesys", "INVALID_ARGUMENT")


async def test_a_session_that_comes_back_goes_on_with_its_conversation() -> None:
    first = GenesysPhone()
    async with cluster(**GENESYS) as all_of_it:
        async with calling(first, gateway_of(all_of_it)):
            for packet in tone(first, 5):
                await first.say(packet)
            await first.until_heard(1600)
            await first.hang_up("reconnect")
            await first.until(lambda: first.is_closed)
        second = GenesysPhone(continues=first.id)
        async with calling(second, gateway_of(all_of_it)):
            assert second.is_open
        assert all_of_it.sample("moshi_gateway_resumptions_total", outcome="memory") == 1
